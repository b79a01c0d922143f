// What happens between two network cards: packets lost before the capture and behind it, packets that come twice, tags of VLANs.
// Each connection is copied as the target got it, byte for byte, both ways.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { Mirror, type RunningSniffer, startSniffer } from '../integration/sniffer-harness.ts';

const machine = [can.root, canRun('tc'), canRun('clang')].find(({ yes }) => !yes) ?? can.root;
const HTTP = 8080;
const ECHO = 9000;
const DEADLINE_MS = 120_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);
const wireProgram = path.join(import.meta.dirname, '../../build/wire.bpf.o');

/** By end of the wire and direction: the section of wire.bpf.c. */
type Wire = Partial<Record<'target in' | 'target out' | 'peer in' | 'peer out', string>>;

describe.skipIf(!machine.yes)(`a wire under a mirror ${machine.why}`, () => {
  let network: TargetNetwork;
  let server: Peer;
  let sniffer: RunningSniffer;
  let mirror: Mirror;
  let folder: string;

  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'mirrord-wire-'));
    mkdirSync(path.dirname(wireProgram), { recursive: true });
    // clang for BPF looks for the machine's own headers nowhere.
    const machineHeaders = execFileSync('cc', ['-print-multiarch'], { encoding: 'utf8' }).trim();
    const flags = ['-O2', '-g', '-target', 'bpf', `-I/usr/include/${machineHeaders}`];
    execFileSync('clang', [...flags, '-c', fixture('wire.bpf.c'), '-o', wireProgram]);
    network = await startNetwork();
    const program = [process.execPath, fixture('hash-server.mjs'), `${HTTP}`, `${ECHO}`];
    server = await network.serve(network.target, program);
    sniffer = await startSniffer();
    mirror = await Mirror.open(sniffer, network.identity);
  }, DEADLINE_MS);
  afterEach(async () => {
    mirror?.end();
    await sniffer?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  }, DEADLINE_MS);

  async function lay(wire: Wire): Promise<void> {
    const ends = { target: [network.target, 'toward'], peer: [network.beyond, 'back'] } as const;
    for (const [where, device] of Object.values(ends)) await network.run(where, `tc qdisc add dev ${device} clsact`);
    for (const [at, section] of Object.entries(wire)) {
      const [where, device] = ends[at.startsWith('target') ? 'target' : 'peer'];
      const direction = at.endsWith(' in') ? 'ingress' : 'egress';
      await network.run(where, `tc filter add dev ${device} ${direction} bpf da obj ${wireProgram} sec tc/${section}`);
    }
  }

  test.each<[string, Wire]>([
    ['lost on their way to the target', { 'peer out': 'lose' }],
    ['lost behind the capture, which has seen them', { 'target in': 'lose' }],
    ['lost on their way back', { 'target out': 'lose' }],
    [
      'lost and doubled everywhere',
      { 'peer out': 'repeat', 'target in': 'lose', 'target out': 'repeat', 'peer in': 'lose' },
    ],
    ['of a VLAN', { 'peer out': 'tag', 'target in': 'untag', 'target out': 'tag', 'peer in': 'untag' }],
  ])(
    'packets %s',
    async (_, wire) => {
      await lay(wire);
      await mirror.subscribe({ port: HTTP, withAnswers: true });
      writeFileSync(path.join(folder, 'body'), Buffer.alloc(3_000_000, 'mirrored '));
      const up = `curl -sS --max-time 60 -o /dev/null --data-binary @${folder}/body -H Expect:`;
      await Promise.all(
        ['10.99.0.1', '[fd99::1]'].flatMap((host) => [
          network.run(network.beyond, `${up} http://${host}:${HTTP}/up`),
          network.run(
            network.beyond,
            `curl -sS --max-time 60 -o /dev/null http://${host}:${HTTP}/size/900000 http://${host}:${HTTP}/size/10`,
          ),
        ]),
      );
      for (let count = 0; count < 4; count += 1) {
        const [, port, bytes, sha256, outBytes, outSha] = (await server.line('over')).split(' ');
        const seen = await mirror.over(Number(port));
        expect([seen.bytes, seen.sha256, seen.gaps]).toEqual([Number(bytes), sha256, []]);
        expect([seen.answerBytes, seen.answerSha256]).toEqual([Number(outBytes), outSha]);
      }
      expect(mirror.losses.size).toBe(0);
    },
    DEADLINE_MS,
  );
});
