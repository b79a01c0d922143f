// Keys of the configuration whose effect is in the agent's pod, or comes from objects of the cluster.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { NODE_A, NODE_B, TestNamespace } from './cluster.ts';
import { defineProfiles, profileObject, removeProfiles } from './profiles.ts';

const namespace = new TestNamespace();
let folder = '';

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-keys-'));
  await namespace.create();
  await Promise.all([namespace.deploy('shop', 'node', NODE_A), namespace.deploy('stock', 'python', NODE_B)]);
  await namespace.ready('shop', 'stock');
});
afterEach(() => namespace.assertClean());
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await namespace.delete();
  await removeProfiles();
});

function configured(config: object): string[] {
  const file = path.join(folder, 'mirrord.json');
  writeFileSync(file, JSON.stringify(config));
  return ['-f', file, '-t', 'deployment/shop', '--'];
}

/** From a pod on the other node: headers and body. */
async function ask(url: string, user = ''): Promise<string> {
  const program =
    'import sys,urllib.request as u;' +
    'r=u.urlopen(u.Request(sys.argv[1],headers={"x-user":sys.argv[2]}),timeout=60);' +
    'print(str(r.headers).lower());print(r.read().decode())';
  return await namespace.kubectl('exec', 'deploy/stock', '--', 'python3', '-c', program, url, user);
}

test('answers say who gave them, and the agent says at its address what it carried', async () => {
  const config = {
    agent: { metrics: '0.0.0.0:9000', inject_headers: true, override_cache_control: true },
    feature: { network: { incoming: { mode: 'steal', http_filter: { header_filter: '^x-user: me$' } } } },
  };
  const server = 'require("http").createServer((q, r) => r.end("local")).listen(8080, () => console.log("listening"))';
  const run = namespace.start([...configured(config), 'node', '-e', server]);
  await run.says('stderr', /stealing port 8080/);
  const [, pod = ''] = await run.says('stderr', /agent: pod (\S+) in/);
  const [taken, passed] = [await ask(namespace.url('shop'), 'me'), await ask(namespace.url('shop'), 'other')];
  expect(taken).toMatch(/mirrord-agent: forwarded-to-client[\s\S]*local/);
  expect(passed).toContain('mirrord-agent: passed-through');
  for (const one of [taken, passed]) expect(one).toContain('cache-control: no-cache, no-store, must-revalidate');
  const address = await namespace.kubectl('get', 'pod', pod, '-o', 'jsonpath={.status.podIP}');
  const metrics = await ask(`http://${address}:9000/metrics`);
  expect(metrics).toContain('mirrord_sessions 1\n');
  expect(metrics).toContain('mirrord_http_requests_total{outcome="matched"} 1\n');
  // The readiness probes of the node pass, too.
  expect(Number(/outcome="passed"\} (\d+)/.exec(metrics)?.[1])).toBeGreaterThan(0);
  run.child.kill('SIGTERM');
  await run.ended;
});

test('volumes of the container are read in the target where else only what is named is', async () => {
  const read = ['sh', '-c', 'cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; cat /var/data/file.txt'];
  const fs = 'localwithoverrides';
  const mounted = await namespace.exec([...configured({ feature: { fs } }), ...read]);
  expect(mounted.stdout, mounted.stderr).toBe(namespace.name);
  const off = await namespace.exec([...configured({ feature: { fs, magic: { auto_mount: false } } }), ...read]);
  expect(off.stdout, off.stderr).toBe('');
});

test('a profile of the cluster is made over the configuration, and one that is not there starts nothing', async () => {
  const lookup = ['sh', '-c', `getent hosts stock.${namespace.name}.svc.cluster.local >/dev/null && echo known`];
  const named = async (profile: string) => await namespace.exec([...configured({ profile }), ...lookup]);
  await defineProfiles();
  await namespace.apply([profileObject('MirrordProfile', 'without-names', ['DnsOff'])]);
  expect((await named(`${namespace.name}/without-names`)).stdout).toBe('');
  const absent = await named(`${namespace.name}/absent`);
  expect([absent.code, absent.stdout]).toEqual([2, '']);
  expect(absent.stderr).toContain('is not in the cluster: there is none of this name');
  expect(absent.stderr).not.toContain('agent: pod');
  expect((await namespace.exec([...configured({}), ...lookup])).stdout).toBe('known\n');
});
