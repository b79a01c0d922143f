// What a target costs the API server of a cluster: calls, bytes and time of resolving it, against kubectl finding a pod of the
// same deployment. KUBECONFIG names the cluster; with a crowd in it the figures should stay.

import { KubeApi } from '../client/kube/api.ts';
import { loadClusterAccess } from '../client/kube/config.ts';
import { resolveTarget } from '../client/kube/resolve.ts';
import type { WorkloadTarget } from '../client/kube/target.ts';
import { parseTarget } from '../client/target.ts';
import { run } from '../test/fixtures/run.ts';
import { median, printTable, ratios, timeTurns } from './table.ts';

const [text = 'deployment/svc-1', namespace = 'crowd-1', rounds = '9'] = process.argv.slice(2);
const target = parseTarget(text) as WorkloadTarget;
const access = await loadClusterAccess({
  kubeconfig: null,
  context: null,
  acceptInvalidCertificates: null,
  useProxy: true,
  env: process.env,
  isInteractive: false,
});
const variables = {
  PATH: process.env['PATH'] ?? '',
  HOME: process.env['HOME'] ?? '/',
  KUBECONFIG: process.env['KUBECONFIG'] ?? '',
};

let traffic = { calls: 0, sentBytes: 0, receivedBytes: 0 };
let pods = 0;
async function ours(): Promise<void> {
  const api = new KubeApi(access);
  try {
    await resolveTarget({ api, target, namespace });
    traffic = api.traffic;
  } finally {
    await api.close();
  }
}

/** Its calls are counted from its own log (-v=8), in a run of their own. */
async function kubectl(...more: string[]): Promise<string> {
  const [kind = '', name = ''] = text.split('/');
  const selector = `app=${name}`;
  const words = ['get', kind === 'pod' ? text : 'pods', '-n', namespace, '-l', selector, '-o', 'json', ...more];
  const { stdout, stderr, code } = await run(['kubectl', ...words], { variables, folder: '/' });
  if (code !== 0) throw new Error(stderr);
  pods = (JSON.parse(stdout) as { items: unknown[] }).items.length;
  return stdout + stderr;
}

const ms = await timeTurns(Number(rounds), { ours, kubectl: async () => void (await kubectl()) });
const answer = await kubectl();
printTable(
  `${text} in ${namespace} (${pods} pods of it): what it takes to know its pod; medians of ${rounds} interleaved runs`,
  ['who', 'calls', 'KiB read', 'ms', 'ratio', 'least', 'most'],
  [
    ['kubectl get pods -l', 1, answer.length / 1024, median(ms.kubectl), 1, '', ''],
    [
      'mirrord (in one process)',
      traffic.calls,
      traffic.receivedBytes / 1024,
      median(ms.ours),
      ...ratios(ms.ours, ms.kubectl),
    ],
  ],
);
