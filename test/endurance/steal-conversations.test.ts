// A port that is stolen with a filter, and what takes its time on it or is no HTTP at all: events, long polls, tunnels, large heads,
// and protocols whose server speaks first, which lose no time by being looked at.

import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { freePort } from '../fixtures/free-port.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const PORT = 8080;
const DEADLINE_MS = 120_000;
/** What being looked at may cost a connection, on a machine with two busy cores: no timer of ours is that short. */
const EXTRA_MS = 100;
const run = promisify(execFile);
const conversations = path.join(import.meta.dirname, '../fixtures/conversations.mjs');
const NODE = [process.execPath, '--max-http-header-size=1000000', conversations];
const onlyAlice = [{ $case: 'header', value: '^x-user: alice$' } as const];

let network: TargetNetwork;
let stealer: Stealer;
let peers: Peer[] = [];
let clients: StealClient[] = [];

beforeAll(async () => {
  network = await startNetwork();
  stealer = await startStealer();
});
afterEach(async () => {
  for (const client of clients) client.vanish();
  for (const peer of peers) await peer.stop();
  [clients, peers] = [[], []];
});
afterAll(async () => {
  await stealer?.[Symbol.asyncDispose]();
  await network?.[Symbol.asyncDispose]();
});

async function steal(port: number, localPort: number): Promise<StealClient> {
  const client = await StealClient.open(stealer, network.identity, localPort);
  clients.push(client);
  await client.steal({ port, conditions: onlyAlice });
  return client;
}

async function beyond(...words: string[]): Promise<string> {
  const all = ['-t', String(network.beyond.pid), '-n', ...words];
  return (await run('nsenter', all, { timeout: DEADLINE_MS })).stdout;
}

test(
  'events, a long poll, CONNECT, an upgrade and large heads, by the target and by a session at the same time',
  async () => {
    const localPort = await freePort();
    const here = { ...network.target, pid: process.pid };
    peers.push(await network.serve(network.target, [...NODE, 'serve', `${PORT}`, 'target']));
    peers.push(await network.serve(here, [...NODE, 'serve', `${localPort}`, 'local']));
    await steal(PORT, localPort);
    const ask = async (...field: string[]) =>
      JSON.parse(await beyond(...NODE, 'ask', '10.99.0.1', `${PORT}`, ...field)) as object;
    const [alice, bob] = await Promise.all([ask('x-user=alice'), ask()]);
    const all = (name: string) => ({ polled: name, events: name, connected: name, upgraded: name });
    // A head beyond 64 KiB is looked at by nobody: it is the target's, whole.
    expect(alice).toEqual({ ...all('local'), large: 'local 60000', larger: 'target 100000' });
    expect(bob).toEqual({ ...all('target'), large: 'target 60000', larger: 'target 100000' });
  },
  DEADLINE_MS,
);

/** Mails by Python's own server of SMTP, at two ports. */
const MAIL_SERVER = `
import asyncore, smtpd, sys
class Server(smtpd.SMTPServer):
    def process_message(self, peer, sender, to, data, **more): pass
servers = [Server(('10.99.0.1', int(port)), None) for port in sys.argv[1:]]
print('ready', flush=True)
asyncore.loop(0.05)
`;
/** COUNT mails on a connection each; says how many milliseconds one took, in the median. */
const MAILS = `
import smtplib, sys, time
took = []
for _ in range(int(sys.argv[2])):
    began = time.monotonic()
    with smtplib.SMTP('10.99.0.1', int(sys.argv[1]), timeout=60) as mail:
        mail.sendmail('a@b.test', ['c@d.test'], 'Subject: x\\n\\nbody')
    took.append(time.monotonic() - began)
print(sorted(took)[len(took) // 2] * 1000)
`;
/** As MySQL's: the server's packet first, then the client's, then the server's OK. */
const GREETER = `
const { createServer } = require('node:net');
for (const port of process.argv.slice(1).map(Number)) createServer((socket) => {
  socket.write(Buffer.from('4a0000000a382e302e333600', 'hex'));
  socket.on('data', () => socket.end(Buffer.from('0700000200000002000000', 'hex'))).on('error', () => socket.destroy());
}).listen(port, '::', () => port === Number(process.argv.at(-1)) && console.log('ready'));
`;
const GREETED = `
const { connect } = require('node:net');
const [port, count] = process.argv.slice(1).map(Number);
const once = () => new Promise((resolve, reject) => {
  const began = performance.now();
  const said = [];
  const socket = connect(port, '10.99.0.1', () => undefined);
  socket.on('data', (data) => said.push(data.toString('hex')) === 1 && socket.write(Buffer.from('2000000185a6', 'hex')));
  socket.on('end', () => said.join() === '4a0000000a382e302e333600,0700000200000002000000' ? resolve(performance.now() - began) : reject(new Error(said.join())));
  socket.on('error', reject);
});
(async () => {
  const took = [];
  for (let nth = 0; nth < count; nth++) took.push(await once());
  console.log(took.sort((a, b) => a - b)[count >> 1]);
})();
`;

test.each([
  ['SMTP', ['python3', '-W', 'ignore', '-c', MAIL_SERVER], ['python3', '-c', MAILS]],
  ["MySQL's greeting", [process.execPath, '-e', GREETER], [process.execPath, '-e', GREETED]],
])(
  '%s: the server speaks first, and is heard as soon as without a steal',
  async (_, server, client) => {
    peers.push(await network.serve(network.target, [...server, `${PORT}`, `${PORT + 1}`]));
    await steal(PORT, 1);
    const medianMs = async (port: number) => Number(await beyond(...client, `${port}`, '40'));
    const [direct, looked] = [await medianMs(PORT + 1), await medianMs(PORT)];
    expect(direct).toBeGreaterThan(0);
    expect(looked).toBeLessThan(direct + EXTRA_MS);
  },
  DEADLINE_MS,
);

test(
  'redis: everything is answered by the target, at once, and a pipeline in order',
  async () => {
    const command = [
      'redis-server',
      '--port',
      `${PORT}`,
      '--bind',
      '10.99.0.1',
      '--protected-mode',
      'no',
      '--save',
      '',
    ];
    peers.push(await network.serve(network.target, command, { ready: 'eady to accept connections' }));
    await steal(PORT, 1);
    const at = ['-h', '10.99.0.1', '-p', `${PORT}`];
    expect(await beyond('redis-cli', ...at, 'PING')).toBe('PONG\n');
    const words = ['-n', '4000', '-c', '8', '-P', '16', '-t', 'set,incr', '--csv'];
    expect(await beyond('redis-benchmark', ...at, ...words)).toMatch(/"SET","[\d.]+"[\s\S]*"INCR","[\d.]+"/);
    expect(await beyond('redis-cli', ...at, 'GET', 'counter:__rand_int__')).toBe('4000\n');
  },
  DEADLINE_MS,
);
