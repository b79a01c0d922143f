// A process of ours that has no descriptor left: what is new fails with an errno, never goes another way; what is there goes on; and
// later all is as before.

import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { BEYOND, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness } from './exec-harness.ts';

const PORT = 8080;

let network: TargetNetwork;
let harness: ExecHarness;

beforeAll(async () => {
  network = await startNetwork();
  const web = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.beyond, [process.execPath, web, `${BEYOND}:${PORT}`]);
});
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  await harness.leavesNothing();
  harness.close();
});

/** One connection before, forty while there is no descriptor for them, and one when there is one again. */
const PROGRAM = `
import errno, socket, sys, time
def ask(s):
    try: s.sendall(b'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); return 'target' if b'hello' in s.recv(4096) else 'another'
    except OSError as e: return errno.errorcode.get(e.errno, str(e))
def dial():
    try: return socket.create_connection(('${BEYOND}', ${PORT}), timeout=20)
    except OSError as e: return errno.errorcode.get(e.errno, str(e))
first = dial()
print('first', ask(first), flush=True)
sys.stdin.readline()
crowd = [dial() for _ in range(40)]
print('crowd', sorted({s if isinstance(s, str) else ask(s) for s in crowd}), ask(first), flush=True)
for s in crowd:
    if not isinstance(s, str): s.close()
until = time.monotonic() + 20
while (s := dial(), said := s if isinstance(s, str) else ask(s))[1] != 'target' and time.monotonic() < until: time.sleep(0.02)
print('later', said, flush=True)`;

test.each([
  ['the agent', 'dist/agent.js', 'EMFILE'],
  // By then the target has said yes.
  ['the client', 'bin/mirrord exec', 'ECONNRESET'],
  ['the supervisor', 'bin/mirrord-supervisor', 'EMFILE'],
])('%s without a free descriptor: new connections fail, and none is made from here', async (_, word, errno) => {
  harness = new ExecHarness();
  const run = harness.start(['exec', '-t', `pid/${network.target.pid}`, '--', '/usr/bin/python3', '-c', PROGRAM]);
  await run.said('first target\n');
  for (const { pid, command } of harness.processes()) {
    if (!command.includes(word) || command.startsWith('/bin/sh')) continue;
    const most = readdirSync(`/proc/${pid}/fd`).length + 10;
    execFileSync('prlimit', ['--pid', String(pid), `--nofile=${most}:`]);
  }
  run.child.stdin?.end('\n');
  const { code, stdout } = await run.outcome;
  expect([code, stdout]).toEqual([0, `first target\ncrowd ['${errno}', 'target'] target\nlater target\n`]);
});
