// What a mirror takes from its target, exactly: one load that never stops, and the mirror off, on, on and off again, a quarter of
// a second each, hundreds of times; of uploads two and a half seconds, because a mirror copies all of them in its first half second.
// A ratio is that of the two inner to the two outer pieces, so that what the machine does for longer than a second hits both; of all
// of them the median, and where it lies with 95 % certainty. The ways are a ladder, from programs that refuse every packet to the
// whole sniffer and a whole `mirrord exec`: what a rung costs is what it has more than the one below.
//
// node bench/run.mjs mirror-pairs [SECONDS] [LOAD] [WAY,...]; needs root, nginx, wrk. LOAD: a part of the names of the loads;
// WAY: names of the ways. SECONDS are for each load, all ways together.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ExecHarness } from '../test/integration/exec-harness.ts';
import { Mirror, type MirrorOptions } from '../test/integration/sniffer-harness.ts';
import { type SnifferProcess, startSnifferProcess } from '../test/integration/sniffer-process.ts';
import {
  CONNECTIONS,
  cpuMsOf,
  HOST,
  MANY_CONNECTIONS,
  MirrorStage,
  PER_MILLION,
  PORT,
  type SteadyLoad,
  WANTED,
  WANTED_ANYWHERE,
} from './mirror-stage.ts';
import { interval, median, printTable } from './table.ts';

const seconds = Number(process.argv[2] ?? 60);
const wantedLoad = process.argv[3] ?? '';
const wantedWays = process.argv[4]?.split(',');
/** On the other core than load and target, and not longer than we. */
const BEFORE = ['setpriv', '--pdeathsig', 'KILL', 'taskset', '-c', '1'];
const PIECE_MS = 250;
const LONG_PIECE_MS = 2_500;
/** After the mirror was switched; not measured. */
const SETTLE_MS = 60;
const WARM_UP_MS = 3_000;
const OTHER_PORT = 9;

interface Way {
  readonly wish: MirrorOptions;
  readonly env?: Readonly<Record<string, string>>;
  /** Stands still while it is on: what it would do with the copies is not done. */
  readonly isStopped?: boolean;
  /** A whole `mirrord exec`, started each time, whose local process takes what comes and says nothing. */
  readonly isExec?: boolean;
}

const LADDER: Readonly<Record<string, Way>> = {
  'nothing (the error)': { wish: { port: 0 } },
  'another port': { wish: { port: OTHER_PORT } },
  'no connection in the sample': { wish: { port: PORT, samplePerMillion: 1 } },
  'nobody reads the ring': { wish: { port: PORT }, isStopped: true },
  sniffer: { wish: { port: PORT } },
  'packet socket': { wish: { port: PORT }, env: { MIRRORD_SNIFFER_FILTER: 'ebpf' } },
  'mirrord exec': { wish: { port: PORT }, isExec: true },
};

/** Few connections that last, so that a quarter of a second is like the next. */
const BY_PATH: Readonly<Record<string, Way>> = {
  'nothing (the error)': { wish: { port: 0 } },
  'no connection in the sample': { wish: { port: PORT, samplePerMillion: 1 } },
  sniffer: { wish: { port: PORT } },
  'by path': { wish: { port: PORT, filter: WANTED } },
  'by path without the kernel': { wish: { port: PORT, filter: WANTED_ANYWHERE } },
  'by path and nobody reads': { wish: { port: PORT, filter: WANTED }, isStopped: true },
};

const FEW: Readonly<Record<string, Way>> = {
  sniffer: { wish: { port: PORT } },
  'by path': { wish: { port: PORT, filter: WANTED } },
  'by path and nobody reads': { wish: { port: PORT, filter: WANTED }, isStopped: true },
  'by sample': { wish: { port: PORT, samplePerMillion: PER_MILLION } },
};

interface Load {
  readonly name: string;
  readonly at: string;
  readonly script?: string;
  readonly connections?: number;
  readonly pieceMs?: number;
  readonly ways: Readonly<Record<string, Way>>;
}

const LOADS: readonly Load[] = [
  { name: 'small requests', at: '/small', ways: LADDER },
  { name: '1 request in 100 wanted', at: '/small', script: 'wanted.lua', connections: MANY_CONNECTIONS, ways: FEW },
  { name: '1 in 100 by path', at: '/small', script: 'wanted.lua', ways: BY_PATH },
  { name: '1 MB answers', at: '/large', ways: LADDER },
  { name: '1 MB uploads', at: '/upload', script: 'upload.lua', pieceMs: LONG_PIECE_MS, ways: LADDER },
];

interface Piece {
  readonly perSecond: number;
  readonly micros: number;
}

interface Quad {
  readonly rate: number;
  readonly cpu: number;
  readonly micros: number;
  readonly copierMicros: number;
}

async function piece(stage: MirrorStage, load: SteadyLoad, pieceMs: number): Promise<Piece> {
  const count = await stage.answered();
  const [cpuMs, startedAt] = [load.cpuMs(), performance.now()];
  await pause(pieceMs);
  const done = (await stage.answered()) - count;
  const passedMs = performance.now() - startedAt;
  return { perSecond: (done / passedMs) * 1e3, micros: ((load.cpuMs() - cpuMs) * 1e3) / done };
}

interface Switched {
  cpuMs(): number;
  off(): Promise<void>;
}

async function switchOn(stage: MirrorStage, sniffer: SnifferProcess, way: Way): Promise<Switched> {
  const cpuMs = () => cpuMsOf(sniffer.pid);
  if (way.wish.port === 0) return { cpuMs, off: async () => undefined };
  if (way.isExec) return execOn(stage);
  const mirror = await Mirror.open(sniffer, stage.network.identity);
  mirror.onlyCounts = true;
  await mirror.subscribe(way.wish);
  if (way.isStopped) process.kill(sniffer.pid, 'SIGSTOP');
  const off = async () => {
    if (way.isStopped) process.kill(sniffer.pid, 'SIGCONT');
    // Not unsubscribed: that waits for the end of connections, and these have none.
    mirror.end();
    if (mirror.losses.size > 0) lostWays.add(way);
  };
  return { cpuMs, off };
}

async function execOn(stage: MirrorStage): Promise<Switched> {
  const harness = new ExecHarness();
  const config = path.join(harness.folder, 'mirrord.json');
  const feature = { network: { incoming: 'mirror', outgoing: false, dns: false }, fs: 'local' };
  writeFileSync(config, JSON.stringify({ feature }));
  const server = `require('net').createServer((s) => s.on('error', () => 0).resume()).listen(${PORT}, () => console.log('listens'))`;
  const words = ['exec', '-t', `pid/${stage.network.target.pid}`, '-f', config, '--', process.execPath, '-e', server];
  const run = harness.start(words, { under: BEFORE });
  await run.said('listens');
  const pids = harness.processes().map(({ pid }) => pid);
  return {
    cpuMs: () => pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0),
    off: async () => {
      run.child.kill('SIGTERM');
      await run.outcome;
      await harness.leavesNothing();
      harness.close();
    },
  };
}

async function quad(
  stage: MirrorStage,
  steady: SteadyLoad,
  sniffer: SnifferProcess,
  way: Way,
  pieceMs: number,
): Promise<Quad> {
  await pause(SETTLE_MS);
  const first = await piece(stage, steady, pieceMs);
  const switched = await switchOn(stage, sniffer, way);
  await pause(SETTLE_MS);
  const copierMs = switched.cpuMs();
  const on = [await piece(stage, steady, pieceMs), await piece(stage, steady, pieceMs)];
  const copied = switched.cpuMs() - copierMs;
  await switched.off();
  await pause(SETTLE_MS);
  const off = [first, await piece(stage, steady, pieceMs)];
  const sum = (pieces: Piece[], key: keyof Piece) => pieces.reduce((all, one) => all + one[key], 0);
  const requests = (sum(on, 'perSecond') * pieceMs) / 1e3;
  return {
    rate: sum(on, 'perSecond') / sum(off, 'perSecond'),
    cpu: sum(on, 'micros') / sum(off, 'micros'),
    micros: sum(off, 'micros') / 2,
    copierMicros: (copied * 1e3) / requests,
  };
}

const between = ([middle, low, high]: [number, number, number]) =>
  `${middle.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;

const lostWays = new Set<Way>();
await using stage = await MirrorStage.start();
for (const load of LOADS) {
  if (!load.name.includes(wantedLoad)) continue;
  const ways = Object.entries(load.ways).filter(([name]) => wantedWays?.includes(name) ?? true);
  const sniffers = new Map<string, SnifferProcess>();
  for (const [, { env = {} }] of ways) {
    const key = JSON.stringify(env);
    if (!sniffers.has(key)) sniffers.set(key, await startSnifferProcess(env, BEFORE));
  }
  const words = ['wrk', '-t1', `-c${load.connections ?? CONNECTIONS}`, '-d1h'];
  if (load.script !== undefined) words.push('-s', path.join(stage.folder, load.script));
  const steady = stage.steadyLoad([...words, `http://${HOST}:${PORT}${load.at}`]);
  await pause(WARM_UP_MS);
  const quads = new Map<string, Quad[]>(ways.map(([name]) => [name, []]));
  // The first of each does not count: code is compiled.
  const endsAt = performance.now() + seconds * 1e3;
  for (let round = 0; performance.now() < endsAt; round++) {
    for (const [name, way] of ways) {
      const sniffer = sniffers.get(JSON.stringify(way.env ?? {})) as SnifferProcess;
      const one = await quad(stage, steady, sniffer, way, load.pieceMs ?? PIECE_MS);
      if (round > 0) quads.get(name)?.push(one);
    }
  }
  await steady.stop();
  for (const sniffer of sniffers.values()) await sniffer[Symbol.asyncDispose]();
  const rows = ways.map(([name, way]) => {
    const of = (key: keyof Quad) => (quads.get(name) ?? []).map((one) => one[key]);
    return [
      name,
      of('rate').length,
      between(interval(of('rate'))),
      between(interval(of('cpu'))),
      median(of('micros')),
      median(of('copierMicros')),
      lostWays.has(way) ? 'some' : 'none',
    ];
  });
  printTable(
    load.name,
    ['', 'quads', 'requests/s to off', 'CPU of load and target to off', 'µs off', "sniffer's µs", 'lost'],
    rows,
  );
}
