// Several stealers, as several agents bring them, on one port of one target.

import { execFile } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { AppError } from '../../proto/errors.ts';
import { ConflictPolicy, EndReason } from '../../proto/gen/v1/incoming.ts';
import { newSessionId } from '../../proto/token.ts';
import { VERSION } from '../../proto/version.ts';
import { Redirect } from '../../services/stealer/redirect.ts';
import { socketPool } from '../../services/stealer/relay/socket-pool.ts';
import { joinHolder, PEER_VERSION } from '../../services/stealer/share/peer-door.ts';
import { MAX_PORTS } from '../../services/stealer/stolen-target.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { descendantsOf } from '../fixtures/processes.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const PORT = 8080;
const TARGET = `http://10.99.0.1:${PORT}`;
const run = promisify(execFile);
const header = (value: string) => ({ $case: 'header', value }) as const;

let network: TargetNetwork;
let stealers: Stealer[] = [];
let clients: StealClient[] = [];
let strangers: Peer[] = [];
let local: Server;
/** Requests for /held, and what answers them. */
let onHeld: (answer: () => void) => void = (answer) => answer();

beforeAll(async () => {
  network = await startNetwork();
  const server = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.target, [process.execPath, server, `:::${PORT}`]);
  local = createServer((request, response) => {
    const answer = () => response.end(`local ${request.headers['x-user']}\n`);
    if (request.url === '/held') onHeld(answer);
    else answer();
  });
  await new Promise<void>((resolve) => local.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  local.closeAllConnections();
  await new Promise((resolve) => local.close(resolve));
  await network[Symbol.asyncDispose]();
});
beforeEach(() => {
  [stealers, clients, strangers] = [[], [], []];
});
afterEach(async () => {
  for (const client of clients) client.vanish();
  for (const stealer of stealers) await stealer[Symbol.asyncDispose]();
  for (const stranger of strangers) await stranger.stop();
  expect(await as('anybody')).toContain('hello');
});

/** A session with a stealer of its own. */
async function open(stealer?: Stealer): Promise<StealClient> {
  const own = stealer ?? (await startStealer());
  if (stealer === undefined) stealers.push(own);
  const client = await StealClient.open(own, network.identity, (local.address() as AddressInfo).port);
  clients.push(client);
  return client;
}

async function as(user: string, at = '/'): Promise<string> {
  const words = ['-t', String(network.beyond.pid), '-n', 'curl', '-sS', '--max-time', '20', '-H', `x-user: ${user}`];
  return (await run('nsenter', [...words, `${TARGET}${at}`])).stdout;
}

const only = (user: string) => ({ port: PORT, conditions: [header(`^x-user: ${user}$`)] });

test('two agents steal from one port, each what its filter wants, and the target answers the rest', async () => {
  const [alice, bob] = [await open(), await open()];
  await alice.steal(only('alice'));
  await bob.steal(only('bob'));
  expect([await as('alice'), await as('bob')]).toEqual(['local alice\n', 'local bob\n']);
  expect(await as('carol')).toContain('hello');
  expect([alice.peers.length, bob.peers.length]).toEqual([1, 1]);
});

test('what both want is refused, taken over or waited for, as the second says, with who has it', async () => {
  const [alice, bob] = [await open(), await open()];
  await alice.steal(only('alice'));
  await expect(bob.steal({ port: PORT })).rejects.toThrow(
    /port 8080 cannot be stolen: session \w+ steals requests with header "\^x-user: alice\$" of port 8080 since 20/,
  );
  const onConflict = ConflictPolicy.CONFLICT_POLICY_CONTINUE;
  const { id, subscribed } = await bob.steal({ ...only('alice'), onConflict });
  expect(subscribed.notes[0]).toMatch(/^it has no effect while session/);
  await as('alice');
  expect([alice.peers.length, bob.peers.length]).toEqual([1, 0]);
  await bob.unsubscribe(id);
  await bob.steal({ port: PORT, onConflict: ConflictPolicy.CONFLICT_POLICY_OVERRIDE });
  await expect.poll(() => alice.errors.map(({ message }) => message)[0]).toMatch(/port 8080 was taken over: session/);
  await as('alice');
  expect([alice.peers.length, bob.peers.length]).toEqual([1, 1]);
});

test('the stealer that holds the target ends: requests on their way get their end, and the others go on stealing', async () => {
  const [alice, bob, carol] = [await open(), await open(), await open()];
  await alice.steal(only('alice'));
  await bob.steal(only('bob'));
  await carol.steal({ ...only('bob'), onConflict: ConflictPolicy.CONFLICT_POLICY_CONTINUE });
  const arrived = new Promise<void>((resolve) => {
    onHeld = () => resolve();
  });
  const held = as('bob', '/held').catch((error: Error) => error.message);
  await arrived;
  await stealers.shift()?.[Symbol.asyncDispose]();
  expect(await held).toBe('mirrord: the session that took this request has ended\n');
  await expect.poll(() => bob.ended.map(({ reason }) => reason)).toEqual([EndReason.END_REASON_SERVICE_LOST]);
  expect(await as('alice')).toContain('hello');
  await expect.poll(() => as('bob')).toBe('local bob\n');
  // Who came later waits for who came before, also with the next holder.
  expect([bob.closedBy, carol.closedBy, carol.peers.length]).toEqual([undefined, undefined, 0]);
  bob.vanish();
  await expect.poll(() => as('bob')).toBe('local bob\n');
  await expect.poll(() => carol.peers.length).toBeGreaterThan(0);
  // The first one again, with another stealer, beside them.
  await (await open()).steal(only('alice'));
  expect(await as('alice')).toBe('local alice\n');
});

/** In the target's network, at the name by which stealers meet: says what it is told. */
const IMPOSTOR = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
if sys.argv[1] == 'squat':
    s.bind('\\0mirrord-steal'); s.listen()
    print('ready', flush=True)
    while True:
        c = s.accept()[0]
        print('got', c.recv(100), flush=True)
s.connect('\\0mirrord-steal')
s.settimeout(20)
print('ready', flush=True)
try:
    s.send(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n')
except OSError:
    pass
try:
    print('got', s.recv(100), flush=True)
except OSError:
    print('got', b'', flush=True)
`;
const NO_CAPABILITIES = ['setpriv', '--bounding-set=-all', '--inh-caps=-all'];
const OWN_PROCESSES = ['unshare', '--pid', '--fork', '--kill-child'];

async function impostor(wrapper: readonly string[], act: string): Promise<Peer> {
  const stranger = await network.serve(network.target, [...wrapper, 'python3', '-c', IMPOSTOR, act]);
  strangers.push(stranger);
  return stranger;
}

test.each([
  ['without our capabilities', NO_CAPABILITIES, 'it lacks capabilities'],
  ['of another process namespace', OWN_PROCESSES, 'its pid namespace is another'],
])('a process of the target %s gets nothing at the name of the stealers', async (_, wrapper, reason) => {
  const squatter = await impostor(wrapper, 'squat');
  await expect(open()).rejects.toThrow(new RegExp(`process \\d+ \\(python3\\) is no stealer: ${reason}`));
  await squatter.line('got');
  expect(squatter.lines.filter((line) => line !== "got b''")).toEqual([]);
  await squatter.stop();
  await (await open()).steal(only('alice'));
  expect(await (await impostor(wrapper, 'connect')).line('got')).toBe("got b''");
  expect(await as('alice')).toBe('local alice\n');
});

test('ports that were stolen once leave room for others', async () => {
  const alice = await open();
  await (await open(stealers[0])).steal(only('bob'));
  for (let port = 20_000; port < 20_000 + MAX_PORTS + 76; port += 100) {
    const some = Array.from({ length: 100 }, (_, nth) => alice.steal({ port: port + nth }));
    await Promise.all((await Promise.all(some)).map(({ id }) => alice.unsubscribe(id)));
  }
  expect(await as('bob')).toBe('local bob\n');
});

test.each(['sk_lookup', 'iptables-legacy'] as const)(
  'a redirect by %s that cannot be watched leaves nothing',
  async (way) => {
    const namespaceFd = openSync(`/proc/${network.target.pid}/ns/net`, 'r');
    const before = descendantsOf(process.pid);
    const events = { onAccepted: () => undefined, onArrival: () => undefined };
    const refusal = vi.spyOn(socketPool(), 'openDoor').mockImplementation(() => {
      throw new AppError('CONNECTION_FAILED', 'a listener cannot be watched', { errno: 28 });
    });
    expect(() => Redirect.open(namespaceFd, way, events)).toThrow('a listener cannot be watched');
    refusal.mockRestore();
    await expect.poll(() => descendantsOf(process.pid)).toEqual(before);
    const redirect = Redirect.open(namespaceFd, way, events);
    redirect.close();
    redirect.release();
    closeSync(namespaceFd);
  },
);

test('a stealer that has no name and redirects already is not fought with', async () => {
  const namespaceFd = openSync(`/proc/${network.target.pid}/ns/net`, 'r');
  const redirect = Redirect.open(namespaceFd, 'sk_lookup', {
    onAccepted: ({ fd }) => closeSync(fd),
    onArrival: () => undefined,
  });
  await expect(open()).rejects.toThrow(/redirected by a stealer that cannot be reached from here/);
  redirect.close();
  redirect.release();
  closeSync(namespaceFd);
  await open();
});

test.each([
  ['older', PEER_VERSION - 1],
  ['newer', PEER_VERSION + 1],
])('a stealer of an %s version is told both, and who holds the target goes on', async (_, version) => {
  await (await open()).steal(only('alice'));
  const attach = { ...network.identity, containerId: '', wantsEnvironment: false, wantsFiles: false };
  const namespaceFd = openSync(`/proc/${network.target.pid}/ns/net`, 'r');
  const refused = new Promise<AppError | null>((resolve, reject) => {
    const handlers = { onFrame: () => undefined, onClosed: resolve };
    joinHolder({ namespaceFd, sessionId: newSessionId(), attach, nextId: 0, version, ...handlers }).catch(reject);
  });
  const said = `speaks version ${PEER_VERSION} with its like; this one, of mirrord ${VERSION}, speaks ${version}: use the same`;
  expect((await refused)?.message).toContain(said);
  closeSync(namespaceFd);
  expect(await as('alice')).toBe('local alice\n');
});
