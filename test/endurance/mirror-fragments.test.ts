// Datagrams that are larger than their way's packets: the sniffer has those that the target's kernel has, in its order.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CaptureMethod } from '#runtime/capture-settings.ts';
import { Transport } from '../../proto/gen/v1/network.ts';
import { can } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { Mirror, type RunningSniffer, startSniffer } from '../integration/sniffer-harness.ts';

const PORT = 9053;
const DEADLINE_MS = 90_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

let network: TargetNetwork;
let server: Peer;
let sniffer: RunningSniffer | undefined;
let mirror: Mirror;

beforeAll(async () => {
  if (!can.root.yes) return;
  network = await startNetwork();
  server = await network.serve(network.target, ['python3', fixture('udp_heard.py'), `${PORT}`]);
}, DEADLINE_MS);
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  mirror?.end();
  await sniffer?.[Symbol.asyncDispose]();
  sniffer = undefined;
});

async function open(filter: CaptureMethod): Promise<void> {
  sniffer = await startSniffer({ filter });
  mirror = await Mirror.open(sniffer, network.identity);
  await mirror.subscribe({ port: PORT, transport: Transport.TRANSPORT_UDP });
}

/** What the target says that it heard up to "end": size and hash of each. */
async function truth(): Promise<string[]> {
  const heard: string[] = [];
  for (;;) {
    const [, size = '', sha256 = ''] = (await server.line('heard')).split(' ');
    if (size === '3') return heard;
    heard.push(`${size} ${sha256}`);
  }
}

async function copied(nth: number): Promise<string[]> {
  const seen = await mirror.until(`peer ${nth} has said its end`, () => {
    const one = mirror.seen[nth];
    return one?.datagrams.includes('end') ? one : undefined;
  });
  return seen.datagrams
    .filter((datagram) => datagram !== 'end')
    .map((datagram) => Buffer.from(datagram, 'latin1'))
    .map((datagram) => `${datagram.length} ${createHash('sha256').update(datagram).digest('hex')}`);
}

const send = (where: 'target' | 'beyond', host: string, sizes: number[]) =>
  network.run(network[where], `python3 ${fixture('udp_once.py')} ${host} ${PORT} ${sizes.join(' ')}`);

describe.skipIf(!can.root.yes).each(['tcx', 'ebpf', 'classic'] as const)(
  `fragments with %s (${can.root.why})`,
  (filter) => {
    test(
      'of both families are put together, over a wire and over loopback',
      async () => {
        await open(filter);
        const sizes = [60_000, 1_473, 5_000, 65_507];
        for (const [nth, [where, host]] of (
          [
            ['beyond', '10.99.0.1'],
            ['beyond', 'fd99::1'],
            ['target', '127.0.0.1'],
            ['target', '::1'],
          ] as const
        ).entries()) {
          await send(where, host, sizes);
          const heard = await truth();
          expect(heard.map((line) => Number(line.split(' ')[0]))).toEqual(sizes);
          expect(await copied(nth)).toEqual(heard);
        }
        expect(mirror.losses.size).toBe(0);
      },
      DEADLINE_MS,
    );

    test(
      'that a bad wire loses, repeats and reorders give what the target’s kernel makes of them',
      async () => {
        const words = [fixture('bad-wire.py'), `${network.target.pid}`, '10.98.0.1,fd98::1'];
        words.push(`${network.beyond.pid}`, '10.98.0.2,fd98::2');
        const wire = spawn('python3', words, { stdio: ['ignore', 'pipe', 'inherit'] });
        const exited = once(wire, 'exit');
        try {
          await Promise.race([
            once(wire.stdout, 'data'),
            exited.then(([code]) => Promise.reject(new Error(`wire: ${code}`))),
          ]);
          await open(filter);
          const sizes = Array.from({ length: 12 }, (_, size) => 5_000 + size * 5_000);
          for (const [nth, host] of ['10.98.0.1', 'fd98::1'].entries()) {
            await send('beyond', host, sizes);
            const heard = await truth();
            expect(heard.length).toBeGreaterThan(0);
            expect(await copied(nth)).toEqual(heard);
          }
          // What reached nobody is no loss of the copy.
          expect(mirror.losses.size).toBe(0);
        } finally {
          wire.kill('SIGKILL');
          await exited;
        }
      },
      DEADLINE_MS,
    );
  },
);
