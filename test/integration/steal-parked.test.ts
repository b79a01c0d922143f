// A client that is not there any more, or not for the moment, steals nothing: the target answers, and the client again when it
// is back within its grace.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { type Relay, startRelay } from '../fixtures/relay.ts';
import { SYSTEM_PATH, Whole } from '../fixtures/whole.ts';

const PORT = 8080;
const SERVER = `require('http').createServer((q, s) => s.end('local')).listen(${PORT}, () => console.log('serving'));
process.stdin.resume().on('end', () => process.exit());`;

let network: TargetNetwork;
let whole: Whole;
let relay: Relay;
let client: ChildProcess;

beforeAll(async () => {
  network = await startNetwork();
  const web = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.target, [process.execPath, web, `:::${PORT}`]);
  const agentVariables = { MIRRORD_SERVICES_WHEN_WANTED: 'sniffer,stealer' };
  whole = await Whole.start({ target: network.target, listen: '127.0.0.1:0', agentVariables });
  relay = await startRelay(whole.address);
});
afterAll(async () => {
  if (client?.exitCode === null && client.signalCode === null) client.kill('SIGKILL');
  await relay?.close();
  await whole?.close();
  await network?.[Symbol.asyncDispose]();
});

async function curl(): Promise<string> {
  const words = [
    '-t',
    String(network.beyond.pid),
    '-n',
    'curl',
    '-sS',
    '--max-time',
    '20',
    `http://10.99.0.1:${PORT}/`,
  ];
  return (await promisify(execFile)('nsenter', words)).stdout;
}

test('the target answers while the client is away, the client when it is back, the target when it is killed', {
  timeout: 120_000,
}, async () => {
  const work = whole.makeWork('root');
  const words = ['exec', '--steal', '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', SERVER];
  client = spawn(path.join(whole.installed, 'bin/mirrord'), words, {
    cwd: work,
    env: {
      PATH: SYSTEM_PATH,
      HOME: work,
      MIRRORD_AGENT_ADDRESS: relay.address,
      MIRRORD_AGENT_KEY_FILE: path.join(whole.base, 'key'),
    },
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  await expect.poll(curl, { timeout: 60_000 }).toBe('local');

  relay.isOpen = false;
  relay.harm('cut');
  // No grace for the target: at once, while the client may come back for a minute.
  await expect.poll(curl, { timeout: 10_000 }).toContain('hello');
  relay.isOpen = true;
  await expect.poll(curl, { timeout: 60_000 }).toBe('local');

  client.kill('SIGKILL');
  await once(client, 'exit');
  await expect.poll(curl, { timeout: 10_000 }).toContain('hello');
  client.stdin?.end();
});
