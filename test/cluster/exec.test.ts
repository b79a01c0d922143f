// What a program has of a pod: environment, files, names and connections, on either node and for either language.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { NODE_A, NODE_B, TestNamespace } from './cluster.ts';

const namespace = new TestNamespace();

beforeAll(async () => {
  await namespace.create();
  await Promise.all([namespace.deploy('shop', 'node', NODE_A), namespace.deploy('stock', 'python', NODE_B)]);
  await namespace.ready('shop', 'stock');
});
afterEach(() => namespace.assertClean());
afterAll(() => namespace.delete());

/** Two cases of everything: a pod on the first node that asks one on the second, and the other way round. */
describe.each([
  ['shop', 'stock', NODE_A],
  ['stock', 'shop', NODE_B],
])('deployment/%s, whose neighbour is %s', (service, neighbour, node) => {
  test('its variables, files, names and connections are those of the local process', async () => {
    const script = [
      'printf "%s\\n" "$GREETING"',
      'cat /var/data/file.txt',
      `getent hosts ${neighbour}.${namespace.name}.svc.cluster.local >/dev/null && echo known`,
      `curl -sS --noproxy '*' -m 60 'http://${neighbour}/sum?a=20&b=22'`,
      'exit 7',
    ].join('; ');
    const ended = await namespace.exec(['-t', `deployment/${service}`, '--', 'sh', '-c', script]);
    const [greeting, file, known, answer = '{}'] = ended.stdout.split('\n');
    expect([greeting, file, known], ended.stderr).toEqual([`hello from ${service}`, 'demo of mirrord', 'known']);
    expect(JSON.parse(answer)).toEqual({ sum: 42 });
    expect(ended.code).toBe(7);
    expect(ended.stderr).toContain(`on ${node}`);
    for (const step of [/target: pod /, /agent: pod /, /session with /, /Ready!/]) expect(ended.stderr).toMatch(step);
  });
});

test('a program in Python, asking by the short name of a service on the other node', async () => {
  const program =
    'import json,os,urllib.request as u;' +
    'print(os.environ["GREETING"], json.load(u.build_opener(u.ProxyHandler({})).open("http://stock/x"))["service"])';
  const ended = await namespace.exec(['-t', 'service/shop', '--', 'python3', '-c', program]);
  expect(ended.stdout, ended.stderr).toBe('hello from shop stock\n');
});

test('a pod and its container are named, and a namespace of its own is given to the agent', async () => {
  const agents = await new TestNamespace().create();
  try {
    const pod = (
      await namespace.kubectl('get', 'pods', '-l', 'app=shop', '-o', 'jsonpath={.items[0].metadata.name}')
    ).trim();
    const args = ['-a', agents.name, '-t', `pod/${pod}/container/shop`, '--', 'sh', '-c', 'echo "$SERVICE"'];
    const ended = await namespace.exec(args);
    expect(ended.stdout, ended.stderr).toBe('shop\n');
    expect(ended.stderr).toContain(`in namespace ${agents.name}`);
    await agents.assertClean();
  } finally {
    await agents.delete();
  }
});

test('two sessions of one target at once do not know of each other', async () => {
  const runs = ['first', 'second'].map((word) =>
    namespace.start(['-t', 'deployment/shop', '--', 'sh', '-c', `read -r line; echo "$line ${word} $SERVICE"`]),
  );
  for (const run of runs) await run.says('stderr', /Ready!/);
  for (const run of runs) run.child.stdin.end('both\n');
  const ended = await Promise.all(runs.map((run) => run.ended));
  expect(ended.map(({ stdout }) => stdout)).toEqual(['both first shop\n', 'both second shop\n']);
  const agents = ended.map(({ stderr }) => /agent: pod (\S+)/.exec(stderr)?.[1]);
  expect(new Set(agents).size).toBe(2);
});
