// What goes wrong on the way: a bad network, a sidecar, very many connections, a sniffer that is killed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { Mirror, type RunningSniffer, startSniffer } from './sniffer-harness.ts';
import { startSnifferProcess } from './sniffer-process.ts';
import { startClient } from './steered-client.ts';

const HTTP = 8080;
const ECHO = 9000;
const DEADLINE_MS = 90_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);
const serverCommand = [process.execPath, fixture('hash-server.mjs'), String(HTTP), String(ECHO)];

let network: TargetNetwork;
let server: Peer;
let sniffer: RunningSniffer;
let mirror: Mirror;

beforeEach(async () => {
  network = await startNetwork();
  server = await network.serve(network.target, serverCommand);
  sniffer = await startSniffer();
  mirror = await Mirror.open(sniffer, network.identity);
}, DEADLINE_MS);

afterEach(async () => {
  mirror?.end();
  await sniffer?.[Symbol.asyncDispose]();
  await network?.[Symbol.asyncDispose]();
}, DEADLINE_MS);

test(
  'what a bad wire loses, repeats and reorders arrives whole, in both directions',
  async () => {
    const { target, beyond } = network;
    const ends = [target.pid, '10.98.0.1', beyond.pid, '10.98.0.2'].map(String);
    const wire = await startWire(ends);
    try {
      await mirror.subscribe({ port: HTTP, withAnswers: true });
      await writeFile(`${wire.folder}/body`, Buffer.alloc(400_000, 'body'));
      const url = `http://10.98.0.1:${HTTP}`;
      await Promise.all([
        network.run(beyond, `curl -s -o /dev/null ${url}/size/300000 ${url}/size/10 ${url}/size/200000`),
        network.run(beyond, `curl -s -o /dev/null --data-binary @${wire.folder}/body -H Expect: ${url}/up`),
      ]);
      for (let count = 0; count < 2; count += 1) {
        const [, port, bytes, sha256, outBytes, outSha] = (await server.line('over')).split(' ');
        const seen = await mirror.over(Number(port));
        expect([seen.bytes, seen.sha256, seen.gaps]).toEqual([Number(bytes), sha256, []]);
        expect([seen.answerBytes, seen.answerSha256]).toEqual([Number(outBytes), outSha]);
      }
      expect(mirror.losses.size).toBe(0);
    } finally {
      await wire.stop();
    }
  },
  DEADLINE_MS,
);

/** Not in a namespace itself: it enters both. */
async function startWire(ends: string[]): Promise<{ folder: string; stop(): Promise<void> }> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mirrord-wire-'));
  const wire = spawn('python3', [fixture('bad-wire.py'), ...ends], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(wire, 'exit');
  await Promise.race([once(wire.stdout, 'data'), exited.then(([code]) => Promise.reject(new Error(`wire: ${code}`)))]);
  return {
    folder,
    stop: async () => {
      wire.kill('SIGKILL');
      await exited;
      await rm(folder, { recursive: true });
    },
  };
}

test(
  'behind a sidecar the plaintext on loopback is copied and the ciphertext is not, in both families',
  async () => {
    const sidecarPort = 15_006;
    for (const program of ['iptables', 'ip6tables']) {
      const rule = `PREROUTING -p tcp --dport ${HTTP} -j REDIRECT --to-ports ${sidecarPort}`;
      await network.run(network.target, `${program} -t nat -A ${rule}`);
    }
    await network.serve(network.target, ['python3', fixture('sidecar.py'), `${sidecarPort}`, `${HTTP}`]);
    const { id } = await mirror.subscribe({ port: HTTP });
    const script = `
import socket
turned = lambda data: bytes(byte ^ 0x55 for byte in data)
for path, host in (("one", "10.99.0.1"), ("two", "10.99.0.1"), ("three", "fd99::1")):
    s = socket.create_connection((host, ${HTTP}))
    s.sendall(turned(f"GET /{path} HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n".encode()))
    answer = b""
    while data := s.recv(65536): answer += turned(data)
    assert answer.startswith(b"HTTP/1.1 200"), answer
print("ready", flush=True)
`;
    await network.serve(network.beyond, ['python3', '-c', script]);
    for (let count = 0; count < 3; count += 1) await server.line('over');
    const sum = await mirror.unsubscribe(id);
    expect(mirror.seen.map((seen) => seen.text.split(' HTTP')[0])).toEqual(['GET /one', 'GET /two', 'GET /three']);
    const loopback = ['127.0.0.1', '127.0.0.1', `${'0'.repeat(31)}1`];
    expect(mirror.seen.map((seen) => seen.peer.split(':')[0])).toEqual(loopback);
    expect(sum).toMatchObject({ connections: 3n, losses: [] });
  },
  DEADLINE_MS,
);

test(
  '10,000 connections at once, each byte for byte',
  async () => {
    const count = 10_000;
    const { id } = await mirror.subscribe({ port: ECHO, maxConnections: count });
    await network.serve(network.beyond, [
      process.execPath,
      fixture('many-connections.mjs'),
      '10.99.0.1',
      `${ECHO}`,
      `${count}`,
    ]);
    const truths = new Map<number, string>();
    for (let number = 0; number < count; number += 1) {
      const [, port, bytes, sha256] = (await server.line('over')).split(' ');
      truths.set(Number(port), `${bytes} ${sha256}`);
    }
    const sum = await mirror.unsubscribe(id);
    expect(sum).toMatchObject({ connections: BigInt(count), losses: [] });
    const wrong = mirror.seen.filter((seen) => truths.get(seen.peerPort) !== `${seen.bytes} ${seen.sha256}`);
    expect(wrong.length).toBe(0);
    expect(mirror.seen.every(({ ended }) => ended !== null)).toBe(true);
  },
  DEADLINE_MS,
);

test(
  'a server that is killed and started again under a capture: its connections end, the next ones are copied',
  async () => {
    const { id } = await mirror.subscribe({ port: ECHO });
    const one = await startClient(network, ECHO);
    const two = await (async () => {
      try {
        await one.tell('text before');
        await mirror.until('its bytes', () => mirror.seen[0]?.text === 'before\n');
        await server.stop();
        // The kernel has closed the target's side.
        await one.tell('end');
        const ended = await mirror.over(one.port);
        expect(['END_REASON_CLOSED', 'END_REASON_TARGET_RESET']).toContain(ended.endReason);
        server = await network.serve(network.target, serverCommand);
        return await startClient(network, ECHO);
      } finally {
        await one[Symbol.asyncDispose]();
      }
    })();
    try {
      await two.tell('text after');
      await two.tell('end');
      const [, port, bytes, sha256] = (await server.line('over')).split(' ');
      const seen = await mirror.over(Number(port));
      expect([seen.bytes, seen.sha256, seen.isOlder]).toEqual([Number(bytes), sha256, false]);
      expect(await mirror.unsubscribe(id)).toMatchObject({ connections: 2n, losses: [] });
    } finally {
      await two[Symbol.asyncDispose]();
    }
  },
  DEADLINE_MS,
);

test(
  'a sniffer steps back behind the target, and killed it leaves nothing in the network of the target, which goes on',
  async () => {
    mirror.end();
    await sniffer[Symbol.asyncDispose]();
    const killed = await startSnifferProcess();
    try {
      const session = await Mirror.open(killed, network.identity);
      await session.subscribe({ port: HTTP });
      expect(await traces()).toBeGreaterThan(0);
      expect(await nicenessOf(killed.pid)).toEqual([10]);
      // Priorities count among those of one session: it has one of its own, and that has the same one.
      expect(await sessionOf(killed.pid)).toBe(killed.pid);
      // As soon as nobody waits for an answer.
      await vi.waitUntil(async () => /^(nice 10|none)$/.test(await groupOf(killed.pid)), 30_000);
      await killed.kill();
      await expect(session.until('anything', () => false)).rejects.toThrow('the session ended');
      expect(await traces()).toBe(0);
      await network.run(network.beyond, `curl -sf http://10.99.0.1:${HTTP}/`);
    } finally {
      await killed[Symbol.asyncDispose]();
    }
  },
  DEADLINE_MS,
);

/** Of all its threads (proc(5), stat), each value once. */
async function nicenessOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  const stats = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/stat`, 'latin1')));
  return [...new Set(stats.map((text) => Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[16])))];
}

/** Field 6 of proc(5), stat. */
async function sessionOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1');
  return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[3]);
}

/** Of its scheduling group, where the kernel has such groups. */
async function groupOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/autogroup`, 'latin1').catch(() => '');
  return /nice -?\d+/.exec(text)?.[0] ?? 'none';
}

/** In the target's network: packet sockets (/proc/PID/net/packet has a line for each, below its heading), and programs at interfaces. */
async function traces(): Promise<number> {
  const table = await readFile(`/proc/${network.target.pid}/net/packet`, 'utf8');
  const programs = await network.run(network.target, `python3 ${import.meta.dirname}/../fixtures/tcx_programs.py`);
  return table.trim().split('\n').length - 1 + Number(programs);
}
