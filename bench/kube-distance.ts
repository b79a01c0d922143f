// What a distance to the API server costs a start: `mirrord exec -- true` through a relay that hands bytes on half a round trip
// later, in turns with one that does not; the difference of each step in round trips, which follow each other. The target and
// namespace as `kube-start` has them, then rounds and the round trip in ms. MIRRORD_AGENT_IMAGE names an image that the nodes have.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDelayRelay } from './delay-relay.ts';
import { MARKS, type Start, start } from './kube-steps.ts';
import { median, printTable } from './table.ts';

const [target = 'deployment/shop', namespace = 'default', rounds = '5', roundTrip = '50'] = process.argv.slice(2);
const roundTripMs = Number(roundTrip);

interface Config {
  readonly clusters: readonly { readonly cluster: Record<string, unknown> }[];
}

/** The kubeconfig of the environment, with another way to the same server. */
function kubeconfigTo(address: string, file: string): { env: NodeJS.ProcessEnv } {
  const [cluster] = read.clusters;
  if (cluster === undefined) throw new Error('the kubeconfig has no cluster');
  const changed = { ...cluster.cluster, server: `https://${address}`, 'tls-server-name': server.hostname };
  const config = { ...read, clusters: [{ ...cluster, cluster: changed }] };
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return { env: { KUBECONFIG: file } };
}

const view = ['config', 'view', '--raw', '--minify', '--flatten', '-o', 'json'];
const read = JSON.parse(execFileSync('kubectl', view, { encoding: 'utf8' })) as Config;
const server = new URL(String(read.clusters[0]?.cluster['server']));
const folder = mkdtempSync(join(tmpdir(), 'mirrord-distance-'));
const real = `${server.hostname}:${server.port || 443}`;
const relays = [await startDelayRelay(real, 0, false), await startDelayRelay(real, roundTripMs, false)];
const ways = relays.map(({ address }, at) => kubeconfigTo(address, join(folder, `${at}.json`)));
const starts: Start[][] = [[], []];
try {
  for (let round = 0; round <= Number(rounds); round += 1) {
    for (const [at, { env }] of ways.entries()) {
      const one = await start(target, namespace, env);
      // The first of each does not count.
      if (round > 0) starts[at]?.push(one);
    }
  }
} finally {
  await Promise.all(relays.map((relay) => relay.close()));
  rmSync(folder, { recursive: true });
}

type Of = (one: Start) => number;
const row = (name: string, of: Of) => {
  const [near = 0, far = 0] = starts.map((all) => median(all.map(of)));
  return [name, near, far, (far - near) / roundTripMs];
};
printTable(
  `mirrord exec -t ${target} -- true with ${roundTripMs} ms to the API server; medians of ${rounds} runs in turns`,
  ['step', 'ms at 0', `ms at ${roundTripMs}`, 'round trips'],
  [
    ...MARKS.map(([, step], at) => row(step, ({ marks }) => (marks[at] ?? 0) - (marks[at - 1] ?? 0))),
    row('process ends', ({ ms, marks }) => ms - (marks.at(-1) ?? 0)),
    row('all', ({ ms }) => ms),
    ['calls to the API server', ...starts.map((all) => median(all.map(({ calls }) => calls))), ''],
  ],
);
