// Seconds from `mirrord exec -- true` to its end on the cluster of KUBECONFIG, step by step, against `kubectl run --rm` of the
// same image and the start of a `kubectl port-forward`. Run it in an empty cluster and again with a crowd: the second time it
// prints what the crowd changed. MIRRORD_AGENT_IMAGE names an image that the nodes have.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MARKS, mirrord, type Start, start, time } from './kube-steps.ts';
import { median, printTable, ratios } from './table.ts';

const [target = 'deployment/shop', namespace = 'default', rounds = '5'] = process.argv.slice(2);
const image = process.env['MIRRORD_AGENT_IMAGE'] ?? '';
if (image === '') throw new Error('MIRRORD_AGENT_IMAGE is not set');
const record = join(import.meta.dirname, '../build/bench/kube-start.json');

let number = 0;
async function kubectlRun(): Promise<number> {
  number += 1;
  const name = `bench-${process.pid}-${number}`;
  const options = ['--rm', '--attach', '--restart=Never', '--image-pull-policy=IfNotPresent', '--quiet'];
  const command = ['kubectl', '-n', namespace, 'run', name, ...options, `--image=${image}`, '--', '-e', '0'];
  return (await time(command)).ms;
}

async function portForward(): Promise<number> {
  const command = ['kubectl', '-n', namespace, 'port-forward', target, ':8080'];
  return (await time(command, /Forwarding from/)).ms;
}

const starts: Start[] = [];
const others = { run: [] as number[], forward: [] as number[] };
for (let round = 0; round <= Number(rounds); round += 1) {
  const [ours, run, forward] = [await start(target, namespace), await kubectlRun(), await portForward()];
  // The first of each does not count.
  if (round === 0) continue;
  starts.push(ours);
  others.run.push(run);
  others.forward.push(forward);
}

const ms = starts.map((one) => one.ms);
printTable(
  `mirrord exec -t ${target} -- true; medians of ${rounds} interleaved runs; wanted: at most 4,000 ms`,
  ['command', 'ms', 'ratio', 'least', 'most'],
  [
    ['kubectl run --rm of the same image', median(others.run), 1, '', ''],
    ['mirrord exec', median(ms), ...ratios(ms, others.run)],
    ['kubectl port-forward, until it listens', median(others.forward), ...ratios(others.forward, others.run)],
  ],
);
const stepMs = (from: number) => median(starts.map(({ marks }) => (marks[from] ?? 0) - (marks[from - 1] ?? 0)));
printTable(
  'its steps',
  ['step', 'ms'],
  [
    ...MARKS.map(([, step], at) => [step, stepMs(at)]),
    ['process ends', median(starts.map((one) => one.ms - (one.marks.at(-1) ?? 0)))],
    ['calls to the API server', median(starts.map((one) => one.calls))],
    ['KiB read from it', median(starts.map((one) => one.bytes / 1024))],
  ],
);

/** What each container says of its own start, in a session that has all of them. */
async function containers(): Promise<[string, number][]> {
  const command = ['exec', '--steal', '-n', namespace, '-t', target, '--', 'cat'];
  const child = spawn(mirrord, command, { stdio: ['pipe', 'ignore', 'pipe'] });
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('Ready!')) resolve();
    });
    child.once('close', () => reject(new Error(said)));
  });
  try {
    const pod = /agent: pod (\S+) in/.exec(said)?.[1] ?? '';
    const found: [string, number][] = [];
    // The kubelet tells of what runs up to a second later, and until then there are no logs to be had.
    await time(['kubectl', '-n', namespace, 'wait', '--for=condition=Ready', `pod/${pod}`, '--timeout=60s']);
    for (const container of ['agent', 'fs-env', 'sniffer', 'stealer']) {
      const { lines } = await time(['kubectl', '-n', namespace, 'logs', pod, '-c', container]);
      const ready = lines.find(([, line]) => line.includes('"sinceStartMs"'))?.[1] ?? '{}';
      found.push([container, (JSON.parse(ready) as { sinceStartMs?: number }).sinceStartMs ?? Number.NaN]);
    }
    return found;
  } finally {
    child.stdin.end();
    await new Promise((resolve) => child.once('close', resolve));
  }
}
printTable(
  'containers: from the start of the process to ready (those beside the agent wait for it)',
  ['container', 'ms'],
  await containers(),
);

/** How many pods the server says there are, by one answer of one pod. */
async function podCount(): Promise<number> {
  const { lines } = await time(['kubectl', 'get', '--raw', '/api/v1/pods?limit=1']);
  const { metadata, items } = JSON.parse(lines.map(([, line]) => line).join('')) as {
    metadata: { remainingItemCount?: number };
    items: unknown[];
  };
  return items.length + (metadata.remainingItemCount ?? 0);
}

interface Kept {
  readonly pods: number;
  readonly ms: number;
  readonly toKubectl: number;
}
const now: Kept = { pods: await podCount(), ms: median(ms), toKubectl: ratios(ms, others.run)[0] };
const before = existsSync(record) ? (JSON.parse(readFileSync(record, 'utf8')) as Kept) : now;
if (now.pods > 10 * before.pods) {
  printTable(
    'the crowd; wanted: at most 1.1',
    ['pods in the cluster', 'ms', 'ratio', 'to kubectl run'],
    [
      [before.pods, before.ms, 1, before.toKubectl],
      [now.pods, now.ms, now.ms / before.ms, now.toKubectl],
    ],
  );
} else {
  writeFileSync(record, JSON.stringify(now));
}
