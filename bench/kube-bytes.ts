// Bytes and questions through a session of `mirrord exec`, which goes over port-forwards of the API server, against a plain
// `kubectl port-forward` to the same pod and the library's PortForward behind a listener of Node's. KUBECONFIG names the cluster, MIRRORD_AGENT_IMAGE the agent's image and
// BENCH_IMAGE one with `node` in it for the pod that is asked.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { KubeConfig, PortForward } from '@kubernetes/client-node';
import { run } from '../test/fixtures/run.ts';
import { answerLines, ask, PORT, SERVICE } from './bytes-peer.ts';
import { median, printTable, ratios } from './table.ts';

const [rounds = '3', mib = '64', node = 'node1'] = process.argv.slice(2);
const image = process.env['BENCH_IMAGE'] ?? '';
const mirrord = join(import.meta.dirname, '../bin/mirrord');
/** This program, as it was bundled: the local process as well. */
const itself = join(import.meta.dirname, '../build/bench/kube-bytes.mjs');
const pod = `bench-bytes-${process.pid}`;
const variables = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? '']));

interface Way {
  readonly child: ChildProcess;
  /** Asks once for `down`, `up` or `questions`: MiB/s, or answers a second. */
  measure(what: string): Promise<number>;
}

async function kubectl(...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(['kubectl', ...words], { variables, folder: '/' });
  if (code !== 0) throw new Error(`kubectl ${words.join(' ')}: ${stderr}`);
  return stdout;
}

/** Resolves with what the first group of `words` is in what the child says. */
function says(child: ChildProcess, words: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const onEnd = () => reject(new Error(`ended without ${words}: ${text}`));
    const take = (chunk: Buffer) => {
      text += chunk.toString();
      const found = words.exec(text);
      if (found === null) return;
      child.stdout?.off('data', take);
      child.stderr?.off('data', take);
      child.off('close', onEnd);
      resolve(found[1] ?? '');
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    child.once('close', onEnd);
  });
}

async function byKubectl(): Promise<Way> {
  const child = spawn('kubectl', ['port-forward', `pod/${pod}`, `:${PORT}`], { stdio: ['ignore', 'pipe', 'pipe'] });
  const port = Number(await says(child, /127\.0\.0\.1:(\d+)/));
  return { child, measure: (what) => ask('127.0.0.1', port, what, Number(mib)) };
}

/** In a process of its own, as kubectl. */
async function byLibrary(): Promise<Way> {
  const child = spawn(process.execPath, [itself, 'forward', pod], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = Number(await says(child, /port (\d+)/));
  return { child, measure: (what) => ask('127.0.0.1', port, what, Number(mib)) };
}

/** The role `forward`. */
function forwardByLibrary(name: string): void {
  const kube = new KubeConfig();
  kube.loadFromDefault();
  const namespace = kube.getContextObject(kube.getCurrentContext())?.namespace ?? 'default';
  const forward = new PortForward(kube);
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    forward.portForward(namespace, name, [PORT], socket, null, socket).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1', () => process.stdout.write(`port ${(server.address() as AddressInfo).port}\n`));
}

/** A local process that asks whatever its stdin names. */
async function bySession(address: string): Promise<Way> {
  const command = ['exec', '-t', `pod/${pod}`, '--', 'node', itself, 'ask', address, String(PORT), mib];
  const child = spawn(mirrord, command, { stdio: ['pipe', 'pipe', 'pipe'] });
  await says(child, /(Ready!)/);
  const measure = async (what: string) => {
    const answer = says(child, /rate (\S+)\n/);
    child.stdin?.write(`${what}\n`);
    return Number(await answer);
  };
  return { child, measure };
}

async function end({ child }: Way): Promise<void> {
  child.stdin?.end();
  if (child.stdin === null) child.kill();
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
}

async function bench(): Promise<void> {
  if (image === '') throw new Error('BENCH_IMAGE is not set');
  const overrides = {
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'app', image, imagePullPolicy: 'IfNotPresent', command: ['node', '-e', SERVICE] }],
    },
  };
  await kubectl('run', pod, `--image=${image}`, '--restart=Never', `--overrides=${JSON.stringify(overrides)}`);
  try {
    await kubectl('wait', '--for=condition=Ready', `pod/${pod}`, '--timeout=60s');
    const address = await kubectl('get', 'pod', pod, '-o', 'jsonpath={.status.podIP}');
    const ways = { kubectl: await byKubectl(), library: await byLibrary(), mirrord: await bySession(address) };
    try {
      const rows: (string | number)[][] = [];
      for (const [what, unit] of [
        ['down', 'MiB/s'],
        ['up', 'MiB/s'],
        ['questions', 'a second'],
        // Node's compilers have seen the way of a question some 10,000 times by now; kubectl's was compiled before.
        ['questions', 'a second, later'],
      ] as const) {
        const seen = { kubectl: [] as number[], library: [] as number[], mirrord: [] as number[] };
        for (let round = 0; round <= Number(rounds); round += 1) {
          for (const name of ['kubectl', 'library', 'mirrord'] as const) {
            const rate = await ways[name].measure(what);
            // The first of each does not count.
            if (round > 0) seen[name].push(rate);
          }
        }
        rows.push([
          `${what}, ${unit}`,
          median(seen.kubectl),
          median(seen.library),
          median(seen.mirrord),
          ...ratios(seen.mirrord, seen.kubectl),
        ]);
      }
      printTable(
        `a session over port-forward; medians of ${rounds} interleaved runs of ${mib} MiB; wanted: at least 0.8`,
        ['what', 'kubectl port-forward', 'PortForward of the library', 'mirrord', 'ratio', 'least', 'most'],
        rows,
      );
    } finally {
      await end(ways.mirrord);
      await end(ways.library);
      await end(ways.kubectl);
    }
  } finally {
    await kubectl('delete', 'pod', pod, '--wait=false');
  }
}

const [, , role, host = '', port = '', bulk = ''] = process.argv;
if (role === 'ask') await answerLines(host, Number(port), Number(bulk));
else if (role === 'forward') forwardByLibrary(host);
else await bench();
