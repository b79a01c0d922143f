import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { NODE_A, TestNamespace } from './cluster.ts';

const namespace = new TestNamespace();

beforeAll(async () => {
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_A);
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(() => namespace.delete());

test('without a target the local process has the names and the network of the cluster, from a pod of its own', async () => {
  const script = ['cat /etc/hostname', `curl -sS --noproxy '*' -m 60 'http://shop/sum?a=20&b=22'`, 'exit 7'].join('; ');
  const ended = await namespace.exec(['-t', 'targetless', '--', 'sh', '-c', script]);
  const [hostname = '', answer = '{}'] = ended.stdout.split('\n');
  expect(hostname, ended.stderr).toMatch(/^mirrord-agent-/);
  expect(JSON.parse(answer)).toEqual({ sum: 42 });
  expect(ended.code).toBe(7);
});
