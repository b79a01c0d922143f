// The redirect by translation of addresses, forced where the kernel has the better one.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Way } from '../../services/runtime/redirect-ways.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { descendantsOf } from '../fixtures/processes.ts';
import { ExecHarness, type Run } from '../integration/exec-harness.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const PORT = 8080;
const TARGET = `http://10.99.0.1:${PORT}`;
const run = promisify(execFile);
const onlyAlice = { port: PORT, conditions: [{ $case: 'header', value: '^x-user: alice$' } as const] };

let network: TargetNetwork;
let stealer: Stealer | null = null;
let clients: StealClient[] = [];
let harness: ExecHarness;
let session: Run | null = null;
let local: Server;

beforeAll(async () => {
  network = await startNetwork();
  const server = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.target, [process.execPath, server, `:::${PORT}`]);
  await network.serve(network.target, [process.execPath, server, `127.0.0.1:${PORT + 1}`]);
  local = createServer((request, response) => response.end(`local ${request.url}\n`));
  await new Promise<void>((resolve) => local.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  local.closeAllConnections();
  await new Promise((resolve) => local.close(resolve));
  await network[Symbol.asyncDispose]();
});
beforeEach(() => {
  [stealer, clients, session] = [null, [], null];
  harness = new ExecHarness();
});
afterEach(async () => {
  for (const client of clients) client.vanish();
  await stealer?.[Symbol.asyncDispose]();
  session?.child.kill('SIGTERM');
  await session?.outcome;
  await harness.leavesNothing();
  harness.close();
  // Gone with the last connection that passes through.
  await expect.poll(ruleset).not.toContain('mirrord');
  expect(await curl(`${TARGET}/after`)).toContain('hello');
});

async function open(way: Way): Promise<StealClient> {
  stealer ??= await startStealer(way);
  const client = await StealClient.open(stealer, network.identity, (local.address() as AddressInfo).port);
  clients.push(client);
  return client;
}

const curl = (url: string, ...args: string[]) => curlIn(network.beyond.pid, url, ...args);

async function curlIn(pid: number, url: string, ...args: string[]): Promise<string> {
  const words = ['-t', String(pid), '-n', 'curl', '-sS', '-g', '--max-time', '20', ...args, url];
  return (await run('nsenter', words)).stdout;
}

/** Of every kind. Tables of ip_tables that are not there yet are made by who lists them. */
async function ruleset(): Promise<string> {
  const commands = ['nft list ruleset', 'iptables-legacy-save -c -t nat', 'ip6tables-legacy-save -c -t nat'];
  const texts: string[] = [];
  for (const command of commands) texts.push(await network.run(network.target, command));
  return texts.join('');
}

describe.each(['nftables', 'nftables-guarded', 'iptables-legacy'] as const)('by %s', (way) => {
  test('both families and loopback are stolen, and the session sees who came and where to', async () => {
    const client = await open(way);
    expect(client.facts?.method).toBe(way);
    const { id, subscribed } = await client.steal({ port: PORT });
    expect(subscribed.notes).toContain('connections are redirected by translating addresses: the settings say so');
    expect(await curl(`${TARGET}/a`)).toBe('local /a\n');
    expect(await curl(`http://[fd99::1]:${PORT}/b`)).toBe('local /b\n');
    expect(await curlIn(network.target.pid, `http://127.0.0.1:${PORT}/c`)).toBe('local /c\n');
    expect(await curlIn(network.target.pid, `http://10.99.0.1:${PORT}/d`)).toBe('local /d\n');
    expect(await curlIn(network.target.pid, `http://[::1]:${PORT}/e`)).toBe('local /e\n');
    expect(client.peers.slice(0, 2).map((peer) => peer.replace(/:\d+$/, ''))).toEqual(['10.99.0.2', '[fd99::2]']);
    await client.unsubscribe(id);
    expect(await curl(`${TARGET}/f`)).toContain('hello');
  });

  test('what the filter leaves reaches the target at the address that was meant, also one bound to loopback', async () => {
    const client = await open(way);
    await client.steal(onlyAlice);
    await client.steal({ ...onlyAlice, port: PORT + 1 });
    expect(await curl(`${TARGET}/a`, '-H', 'x-user: alice')).toBe('local /a\n');
    expect(await curl(`${TARGET}/b`)).toBe(`hello ::ffff:10.99.0.1 at 10.99.0.1:${PORT}\n`);
    expect(await curl(`http://[fd99::1]:${PORT}/c`)).toBe(`hello fd99::1 at [fd99::1]:${PORT}\n`);
    const loopback = `http://127.0.0.1:${PORT + 1}/d`;
    expect(await curlIn(network.target.pid, loopback)).toContain(`at 127.0.0.1:${PORT + 1}`);
    expect(await curlIn(network.target.pid, loopback, '-H', 'x-user: alice')).toBe('local /d\n');
  });

  test('a connection that was there before the first rule goes on undisturbed', async () => {
    const program = `const s=require('net').connect(${PORT},'10.99.0.1');
      s.pipe(process.stdout);process.stdin.on('data',()=>s.write('GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')).on('end',()=>s.end())`;
    const older = spawn('nsenter', ['-t', String(network.beyond.pid), '-n', process.execPath, '-e', program]);
    let said = '';
    older.stdout.on('data', (data: Buffer) => {
      said += data.toString();
    });
    older.stdin.write('1\n');
    await expect.poll(() => said.match(/hello/g), { timeout: 20_000 }).toHaveLength(1);
    const client = await open(way);
    await client.steal({ port: PORT });
    older.stdin.write('2\n');
    await expect.poll(() => said.match(/hello/g), { timeout: 20_000 }).toHaveLength(2);
    older.stdin.end();
    await once(older, 'exit');
    expect(client.peers).toEqual([]);
  });

  test('agent and stealer are killed: nothing is left, and the target answers', { timeout: 60_000 }, async () => {
    const program = `require('http').createServer((q,a)=>a.end('local\\n')).listen(${PORT},()=>console.log('serving'))`;
    const words = ['exec', '--steal', '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', program];
    session = harness.start(words, { variables: { MIRRORD_STEALER_REDIRECT: way } });
    await session.complained(`stealing port ${PORT}`);
    await session.complained('connections are redirected by translating addresses');
    expect(await curl(`${TARGET}/a`)).toBe('local\n');
    expect(await ruleset()).toContain('mirrord');
    const victims = descendantsOf(session.pid).filter((pid) =>
      /^\S*node \S*(agent|stealer)\.js $/.test(commandOf(pid)),
    );
    expect(victims).toHaveLength(2);
    for (const pid of victims) process.kill(pid, 'SIGKILL');
    await expect.poll(() => curl(`${TARGET}/b`).catch(String), { timeout: 20_000 }).toContain('hello');
    expect(await ruleset()).not.toContain('mirrord');
  });
});

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

test.each([
  ['nftables-guarded', 'nftables'],
  ['iptables-legacy', 'iptables-legacy'],
  ['iptables-legacy', 'sk_lookup'],
] as const)(
  '%s: stealer, guard and agent are killed at once; what they leave is swept by the next steal, by %s, and the target answers',
  async (way, next) => {
    const program = `require('http').createServer((q,a)=>a.end('local\\n')).listen(${PORT},()=>console.log('serving'))`;
    const words = ['exec', '--steal', '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', program];
    session = harness.start(words, { variables: { MIRRORD_STEALER_REDIRECT: way } });
    await session.complained(`stealing port ${PORT}`);
    // Stopped first, none of them sees the others go.
    const victims = descendantsOf(session.pid).filter((pid) =>
      /^\S*node (\S*(agent|stealer)\.js $|-e .*stealer\.node mirrord-steal-)/s.test(commandOf(pid)),
    );
    expect(victims).toHaveLength(3);
    for (const pid of victims) process.kill(pid, 'SIGSTOP');
    for (const pid of victims) process.kill(pid, 'SIGKILL');
    session.child.kill('SIGTERM');
    await session.outcome;
    expect(await ruleset()).toContain('mirrord-steal-');
    await expect(curl(`${TARGET}/dead`, '--connect-timeout', '2')).rejects.toThrow();
    const client = await open(next);
    await client.steal(onlyAlice);
    expect(await curl(`${TARGET}/a`, '-H', 'x-user: alice')).toBe('local /a\n');
    expect(await curl(`${TARGET}/b`)).toContain('hello');
  },
  60_000,
);

const NFT_SIDECAR = [
  'nft add table ip sidecar',
  'nft add chain ip sidecar in { type nat hook prerouting priority -100 ; }',
  `nft add rule ip sidecar in tcp dport ${PORT + 2} redirect to :${PORT + 3}`,
];

function iptablesSidecar(command: string, act: '-A' | '-D'): string[] {
  return [`${command} -t nat ${act} PREROUTING -p tcp --dport ${PORT + 2} -j REDIRECT --to-ports ${PORT + 3}`];
}

test('what a stealer and its guard have left is removed by the next one', async () => {
  await network.run(network.target, 'nft add table ip mirrord-steal-1-gone');
  await network.run(network.target, 'nft add table ip6 mirrord-steal-1-gone');
  await network.run(network.target, 'nft add table ip of-somebody');
  stealer = await startStealer('sk_lookup');
  const client = await open('nftables');
  expect(client.facts?.method).toBe('sk_lookup');
  expect(await ruleset()).not.toContain('mirrord');
  expect(await ruleset()).toContain('of-somebody');
});

describe.each(['nftables', 'iptables-legacy'] as const)('by %s', (way) => {
  test.each([
    ['nft', NFT_SIDECAR, ['nft delete table ip sidecar']],
    ['iptables-nft', iptablesSidecar('iptables-nft', '-A'), iptablesSidecar('iptables-nft', '-D')],
    ['iptables-legacy', iptablesSidecar('iptables-legacy', '-A'), iptablesSidecar('iptables-legacy', '-D')],
  ])(
    "behind a sidecar's redirect by %s the plaintext is stolen, and the rest stays the sidecar's",
    async (_, rules, undo) => {
      for (const rule of rules) await network.run(network.target, rule);
      const sidecar = await network.serve(network.target, [
        ...[process.execPath, '-e'],
        `require('net').createServer((c)=>{const o=require('net').connect(${PORT},'127.0.0.1');c.pipe(o).pipe(c);o.on('error',()=>0);c.on('error',()=>0)}).listen(${PORT + 3},()=>console.log('ready'))`,
      ]);
      const client = await open(way);
      await client.steal(onlyAlice);
      await client.steal({ ...onlyAlice, port: PORT + 2 });
      const through = `http://10.99.0.1:${PORT + 2}`;
      expect(await curl(`${through}/a`, '-H', 'x-user: alice')).toBe('local /a\n');
      expect(client.peers).toEqual([expect.stringMatching(/^127\.0\.0\.1:/)]);
      expect(await curl(`${through}/b`)).toContain('hello');
      await sidecar.stop();
      for (const rule of undo) await network.run(network.target, rule);
    },
  );
});

/** As meshes and nodes have them: chains in chains, goto, rules without a target, answers in the middle, negations. */
const RULES_OF_OTHERS = `*nat
:INBOUND - [0:0]
:TO_PROXY - [0:0]
:EMPTY - [0:0]
-A PREROUTING -p tcp -j INBOUND
-A PREROUTING -p udp -m udp --dport 53
-A PREROUTING -p tcp -m tcp --dport 1 -g EMPTY
-A INBOUND -p tcp -m tcp --dport 15008 -j RETURN
-A INBOUND -p tcp -m tcp --dport 15020 -j TO_PROXY
-A TO_PROXY -p tcp -j REDIRECT --to-ports 15006
-A OUTPUT -p tcp -m owner --uid-owner 1337 -m comment --comment "not to itself" -j RETURN
-A OUTPUT ! -o lo -p tcp -m tcp --dport 15001
-A POSTROUTING -p tcp -m mark --mark 0x77 -j ACCEPT
COMMIT
`;

describe('rules of ip_tables that are there already', () => {
  const saved = async () => {
    const texts: string[] = [];
    for (const command of ['iptables-legacy-save -c -t nat', 'ip6tables-legacy-save -c -t nat'])
      texts.push(await network.run(network.target, command));
    return texts.join('').replace(/^#.*\n/gm, '');
  };
  const restore = async (rules: string) => {
    for (const program of ['iptables-legacy-restore', 'ip6tables-legacy-restore']) {
      const child = run('nsenter', ['-t', String(network.target.pid), '-n', program]);
      child.child.stdin?.end(rules);
      await child;
    }
  };
  beforeEach(() => restore(RULES_OF_OTHERS));
  afterEach(() => restore('*nat\nCOMMIT\n'));

  test('stay as they are, with their counters, beside ours and after them', async () => {
    await curl(`${TARGET}/counted`);
    await curl(`http://[fd99::1]:${PORT}/counted`);
    const before = await saved();
    expect(before).toMatch(/^\[[1-9]\d*:\d+\] -A PREROUTING -p tcp -j INBOUND$/m);
    const client = await open('iptables-legacy');
    const { id } = await client.steal(onlyAlice);
    await client.steal({ ...onlyAlice, port: PORT + 1 });
    const lines = (await saved()).split('\n');
    expect(lines.filter((line) => !line.includes('mirrord')).join('\n')).toBe(before);
    const own = lines
      .filter((line) => line.includes('-A') && line.includes('mirrord'))
      .map((line) => line.replace(/mirrord-steal-\w+-\w+/g, 'OURS').replace(/^\[.*?\] |\d+$/g, ''));
    const jump =
      '-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m mark ! --mark 0x306d -m addrtype --dst-type LOCAL -j OURS';
    const rules = [
      `-A PREROUTING ${jump}`,
      `-A OUTPUT ${jump}`,
      ...[PORT, PORT + 1].map((port) => `-A OURS -p tcp -m tcp --dport ${port} -j REDIRECT --to-ports `),
    ];
    expect(own).toEqual([...rules, ...rules]);
    expect(await curl(`${TARGET}/a`, '-H', 'x-user: alice')).toBe('local /a\n');
    await client.unsubscribe(id);
    expect(await saved()).not.toContain(`--dport ${PORT} `);
    client.vanish();
    await expect.poll(saved, { timeout: 20_000 }).not.toContain('mirrord');
    const bare = (text: string) => text.replace(/\[.*?\]/g, '');
    expect(bare(await saved())).toBe(bare(before));
  });

  test.each(['sk_lookup', 'nftables', 'iptables-legacy'] as const)(
    'a node’s own marks mean nothing of ours (%s)',
    async (way) => {
      // kube-proxy's, of a target in the node's network: masqueraded, and dropped.
      await restore('*nat\n-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\nCOMMIT\n');
      const drop = ['-t', 'filter', '-I', 'OUTPUT', '-m', 'mark', '--mark', '0x8000/0x8000', '-j', 'DROP'];
      await network.run(network.target, ['iptables-legacy', ...drop].join(' '));
      try {
        const client = await open(way);
        await client.steal({ ...onlyAlice, port: PORT + 1 });
        const address = `http://127.0.0.1:${PORT + 1}`;
        expect(await curlIn(network.target.pid, `${address}/b`, '-H', 'x-user: bob')).toContain('hello');
        expect(await curlIn(network.target.pid, `${address}/a`, '-H', 'x-user: alice')).toBe('local /a\n');
      } finally {
        await network.run(network.target, ['iptables-legacy', ...drop].join(' ').replace('-I', '-D'));
      }
    },
  );

  test('that somebody changes at the same time are not lost, nor are ours', async () => {
    const client = await open('iptables-legacy');
    // The kernel refuses whoever was late (4), who then tries again, as we do.
    const again = 'until iptables-legacy -w 20 -t nat "$@" 2>/dev/null; do [ $? = 4 ] || exit 1; done';
    const inTarget = ['-t', String(network.target.pid), '-n', 'sh', '-c', again, 'sh'];
    const added = Array.from({ length: 40 }, (_, at) =>
      run('nsenter', [...inTarget, ...`-A EMPTY -p tcp --dport ${20_000 + at} -j RETURN`.split(' ')]),
    );
    for (let port = 21_000; port < 21_040; port++) await client.steal({ ...onlyAlice, port });
    await Promise.all(added);
    const text = await saved();
    for (let at = 0; at < 40; at++) {
      expect(text).toContain(`--dport ${20_000 + at} -j RETURN`);
      expect(text).toContain(`--dport ${21_000 + at} -j REDIRECT`);
    }
  });
});

test('where the kernel has neither sk_lookup nor nf_tables, ip_tables does it, and the user is told why', async () => {
  const program = `require('http').createServer((q,a)=>a.end('local\\n')).listen(${PORT},()=>console.log('serving'))`;
  const older = path.join(import.meta.dirname, '../fixtures/older_kernel.py');
  session = harness.start(
    ['exec', '--steal', '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', program],
    { under: ['python3', older] },
  );
  await session.complained(`stealing port ${PORT}`);
  await session.complained('no sk_lookup');
  await session.complained('nf_tables (CAP_NET_ADMIN) says EPROTONOSUPPORT');
  expect(await curl(`${TARGET}/a`)).toBe('local\n');
  expect(await network.run(network.target, 'iptables-legacy-save -t nat')).toContain('mirrord-steal-');
});
