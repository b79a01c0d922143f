// What happens between two network cards: packets lost before the capture and behind it, packets that come twice, or late, tags
// of VLANs.
// Each connection is copied as the target got it, byte for byte, both ways.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { until } from '../integration/exec-harness.ts';
import { Mirror, type RunningSniffer, startSniffer } from '../integration/sniffer-harness.ts';
import { fixture, linesOf, MirrorStage } from './mirror-stage.ts';
import { buildWire, canWire, lay, tcpCount, type Wire } from './wire.ts';

const HTTP = 8080;
const ECHO = 9000;
const HTTP2 = 8082;
const UDP = 9053;
const DEADLINE_MS = 120_000;
const TWO_TAGS: Wire = {
  'peer out': 'tag_twice',
  'target in': 'untag_twice',
  'target out': 'tag_twice',
  'peer in': 'untag_twice',
};

describe.skipIf(!canWire.yes)(`a wire under a mirror ${canWire.why}`, () => {
  let network: TargetNetwork;
  let server: Peer;
  let sniffer: RunningSniffer;
  let mirror: Mirror;
  let folder: string;

  beforeEach(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'mirrord-wire-'));
    buildWire();
    network = await startNetwork();
    const program = [process.execPath, fixture('hash-server.mjs'), `${HTTP}`, `${ECHO}`];
    server = await network.serve(network.target, program);
  }, DEADLINE_MS);
  afterEach(async () => {
    mirror?.end();
    await sniffer?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  }, DEADLINE_MS);

  async function watch(filter: 'tcx' | 'ebpf' | 'classic' = 'tcx'): Promise<void> {
    sniffer = await startSniffer({ filter });
    mirror = await Mirror.open(sniffer, network.identity);
  }

  test.each<[string, Wire, ('tcx' | 'ebpf' | 'classic')?]>([
    ['lost on their way to the target', { 'peer out': 'lose' }],
    ['lost behind the capture, which has seen them', { 'target in': 'lose' }],
    ['lost on their way back', { 'target out': 'lose' }],
    [
      'lost and doubled everywhere',
      { 'peer out': 'repeat', 'target in': 'lose', 'target out': 'repeat', 'peer in': 'lose' },
    ],
    ['that others have passed, both ways', { 'peer out': 'late', 'target out': 'late' }],
    [
      'lost, doubled and passed by others',
      { 'peer out': 'late', 'target in': 'lose', 'target out': 'repeat', 'peer in': 'lose' },
    ],
    ['of a VLAN', { 'peer out': 'tag', 'target in': 'untag', 'target out': 'tag', 'peer in': 'untag' }],
    ['of a VLAN in a VLAN', TWO_TAGS],
    ['of a VLAN in a VLAN, by a packet socket', TWO_TAGS, 'ebpf'],
    ['of a VLAN in a VLAN, without eBPF', TWO_TAGS, 'classic'],
  ])(
    'packets %s',
    async (_, wire, filter) => {
      await watch(filter);
      await lay(network, wire);
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
      if (!Object.values(wire).includes('late')) return;
      expect(await tcpCount(network, network.target, 'TCPOFOQueue')).toBeGreaterThan(10);
      expect(await tcpCount(network, network.beyond, 'TCPOFOQueue')).toBeGreaterThan(10);
    },
    DEADLINE_MS,
  );
});

describe.skipIf(!canWire.yes)(`a wire under mirrord exec ${canWire.why}`, () => {
  let stage: MirrorStage;

  beforeEach(async () => {
    buildWire();
    stage = await MirrorStage.open();
  }, DEADLINE_MS);
  afterEach(() => stage?.close(), DEADLINE_MS);

  test.each<[string, Wire]>([
    ['lost and doubled', { 'peer out': 'repeat', 'target in': 'lose', 'target out': 'repeat', 'peer in': 'lose' }],
    ['passed by others', { 'peer out': 'late', 'target out': 'late' }],
    ['of a VLAN in a VLAN', TWO_TAGS],
  ])(
    'HTTP/2 in packets %s is heard as the target hears it',
    async (_, wire) => {
      const program = [process.execPath, fixture('http2-heard.mjs'), `${HTTP2}`];
      const server = await stage.network.serve(stage.network.target, program);
      const run = await stage.exec(program, [HTTP2]);
      await lay(stage.network, wire);
      const upload = path.join(stage.harness.folder, 'upload');
      writeFileSync(upload, Buffer.alloc(3_000_000, 'mirrored '));
      const up = `curl -sS --max-time 60 -o /dev/null --http2-prior-knowledge --data-binary @${upload}`;
      const [many] = await Promise.all([
        stage.beyond(`h2load -n 400 -c 4 -m 10 http://[fd99::1]:${HTTP2}/many?answer=20000`),
        stage.beyond(`${up} http://10.99.0.1:${HTTP2}/up`),
      ]);
      expect(many).toContain('400 succeeded, 0 failed, 0 errored');
      const heard = await stage.hears(run, 'heard /', 401);
      expect([...heard].sort()).toEqual(server.lines.filter((line) => line.startsWith('heard /')).sort());
      await stage.stopWhole(run);
    },
    DEADLINE_MS,
  );

  test.each<[string, Wire]>([
    ['lost and doubled on their way', { 'peer out': 'repeat' }],
    ['passed by others', { 'peer out': 'late' }],
    ['of a VLAN in a VLAN', TWO_TAGS],
  ])(
    'datagrams %s are heard as the target hears them, in its order',
    async (_, wire) => {
      const program = ['python3', fixture('udp_heard.py'), `${UDP}`];
      const server = await stage.network.serve(stage.network.target, program);
      const run = await stage.exec(program, [`${UDP}/udp`]);
      await lay(stage.network, wire);
      // Fragments that wait while 64 others of the same host come are dropped by Linux otherwise (ip-sysctl, ipfrag_max_dist).
      await stage.network.run(stage.network.target, 'sysctl -qw net.ipv4.ipfrag_max_dist=0');
      const said = await stage.beyond(`python3 ${fixture('udp_many.py')} 10.99.0.1 ${UDP} 600`);
      expect(said).toBe('sent 600\n');
      await server.line('heard 3 ');
      // The last one may have passed others, and comes again until it is answered.
      const ofMany = (lines: readonly string[]) => lines.filter((line) => /^heard (?!3 )/.test(line));
      const truth = ofMany(server.lines);
      expect(truth.length).toBeGreaterThan(400);
      const heard = () => ofMany(linesOf(run, 'heard '));
      await until(
        () => `${heard().length} of ${truth.length} here`,
        () => heard().length >= truth.length,
        DEADLINE_MS / 2,
      );
      expect(heard().slice(0, truth.length)).toEqual(truth);
      await stage.stopWhole(run);
    },
    DEADLINE_MS,
  );
});
