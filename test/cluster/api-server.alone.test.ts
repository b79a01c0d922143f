// The API server restarts in the middle of a session: the way to the agent is made anew, and the session goes on. And while one
// starts, which waits for it.

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { NODE_A, TestNamespace, tryKubectl, untilTrue } from './cluster.ts';

const namespace = new TestNamespace();
/** Of the cluster that scripts/test-cluster has the processes of. */
const clusterFolder = process.env['MIRRORD_TEST_KUBE_DIR'] ?? '';

beforeAll(async () => {
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_A);
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(() => namespace.delete());

function apiServerPid(): number {
  return Number(readFileSync(path.join(clusterFolder, 'run/apiserver.pid'), 'utf8'));
}

async function restartApiServer(): Promise<void> {
  const begin = stopApiServer();
  await begin();
}

/** @returns what begins it: the same command again, until it stays, for the port of the first may be free a moment after it */
function stopApiServer(): () => Promise<void> {
  const pid = apiServerPid();
  const [command = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  process.kill(pid, 'SIGKILL');
  let child: ChildProcess | null = null;
  const isReady = async () => {
    if (child === null || child.exitCode !== null) child = startApiServer(command, args);
    return (await tryKubectl(['get', '--raw', '/readyz'])).code === 0;
  };
  return () => untilTrue(isReady, 'the API server is not back');
}

/** Where the pid of the first is written down, so is that of the second. */
function startApiServer(command: string, args: readonly string[]): ChildProcess {
  const log = openSync(path.join(clusterFolder, 'log/apiserver.log'), 'a');
  const child = spawn(command, args, { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  child.unref();
  writeFileSync(path.join(clusterFolder, 'run/apiserver.pid'), `${child.pid}\n`);
  return child;
}

test('files and connections of the target are there again after it', async ({ skip }) => {
  skip(clusterFolder === '', 'the processes of this cluster are not ours to restart');
  const script =
    'while read -r what; do cat /var/data/file.txt; getent hosts shop >/dev/null && echo "known $what"; done';
  const run = namespace.start(['-t', 'deployment/shop', '--', 'sh', '-c', script]);
  await run.says('stderr', /Ready!/);
  run.child.stdin.write('before\n');
  await run.says('stdout', /demo of mirrord\nknown before\n/);
  await restartApiServer();
  run.child.stdin.end('after\n');
  const ended = await run.ended;
  expect(ended.stdout, ended.stderr).toMatch(/demo of mirrord\nknown after\n$/);
  expect(ended.code).toBe(0);
});

/** Gives back whatever comes. */
const ECHO =
  "require('node:net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(8081, () => console.log('up'))";
/**
 * Numbers go there and back without a pause, looked at byte by byte, 64 KiB of them under way; a MiB after the line on stdin it ends
 * its half and waits for the rest.
 */
const NUMBERS = `
const { connect } = require('node:net');
const MIB = 1 << 20;
let [sent, got, until] = [0, 0, Infinity];
const socket = connect(8081, process.argv[1], send);
function send() {
  while (sent - got < MIB / 16 && got < until) {
    const block = Buffer.alloc(16384);
    for (let at = 0; at < block.length; at += 4) block.writeUInt32LE((sent + at) / 4, at);
    sent += block.length;
    socket.write(block);
  }
  if (got >= until) socket.end();
}
socket.on('data', (chunk) => {
  for (const byte of chunk) {
    if (byte !== (((got >>> 2) >>> (8 * (got & 3))) & 255)) throw new Error('another byte at ' + got);
    got += 1;
    if (got === MIB) console.log('flows');
  }
  send();
});
socket.on('end', () => console.log(got === sent ? 'whole' : 'lost ' + (sent - got)));
socket.on('close', () => process.stdin.destroy());
process.stdin.once('data', () => { until = got + MIB; });
`;

test('a connection in the middle of its bytes goes on, and has lost none either way', async ({ skip }) => {
  skip(clusterFolder === '', 'the processes of this cluster are not ours to restart');
  const container = {
    name: 'echo',
    image: process.env['MIRRORD_TEST_DEMO_IMAGE'],
    imagePullPolicy: 'IfNotPresent',
    command: ['node', '-e', ECHO],
  };
  const spec = { nodeName: NODE_A, terminationGracePeriodSeconds: 0, containers: [container] };
  await namespace.apply([{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'echo' }, spec }]);
  await namespace.kubectl('wait', '--for=condition=Ready', 'pod/echo', '--timeout=120s');
  const address = await namespace.kubectl('get', 'pod', 'echo', '-o', 'jsonpath={.status.podIP}');
  const run = namespace.start(['-t', 'deployment/shop', '--', 'node', '-e', NUMBERS, address]);
  await run.says('stdout', /flows\n/);
  await restartApiServer();
  run.child.stdin.end('after\n');
  const { code, stdout, stderr } = await run.ended;
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'flows\nwhole\n' });
});

test('a start that finds it gone says so, and goes on when it is back', async ({ skip }) => {
  skip(clusterFolder === '', 'the processes of this cluster are not ours to restart');
  const begin = stopApiServer();
  const run = namespace.start(['-t', 'deployment/shop', '--', 'sh', '-c', 'echo "$SERVICE"']);
  run.child.stdin.end();
  try {
    await run.says('stderr', /cannot be reached: .*; trying again for up to 60 s/);
  } finally {
    await begin();
  }
  const { code, stdout, stderr } = await run.ended;
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'shop\n' });
});

test('a start whose agent has just been asked for goes on when it is back', async ({ skip }) => {
  skip(clusterFolder === '', 'the processes of this cluster are not ours to restart');
  const run = namespace.start(['--verbose', '-t', 'deployment/shop', '--', 'sh', '-c', 'echo "$SERVICE"']);
  run.child.stdin.end();
  await run.says('stderr', /"step":"created"/);
  await restartApiServer();
  const { code, stdout, stderr } = await run.ended;
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'shop\n' });
});
