// What a mirror costs the target, and what it costs itself: requests through the target alone, with the sniffer copying them,
// with tcpdump writing them, with a program that calls recvfrom for each packet. Once more with everybody on one core, where
// somebody must step back.
//
// node bench/run.mjs mirror-capture [ROUNDS] [SECONDS]; needs root, nginx, wrk, and tcpdump for its row.

import path from 'node:path';
import type { HttpFilter } from '../proto/gen/v1/incoming.ts';
import { MirrorStage, mirrored, nobody, others, PORT, type Way } from './mirror-stage.ts';
import { median, printTable, ratios } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const CONNECTIONS = 32;
const WANTED: HttpFilter = { conditions: [{ condition: { $case: 'path', value: '^/wanted' } }], isAny: false };

interface Load {
  readonly name: string;
  readonly at: string;
  /** Of the stage's folder. */
  readonly script?: string;
  readonly ways: Readonly<Record<string, Way>>;
}

interface Sample {
  readonly perSecond: number;
  readonly pathMicros: number;
  readonly copierMs: number;
  readonly p50: number;
  readonly p99: number;
  readonly lost: string;
}

const { tcpflow: _, ...rest } = others();
const unfiltered = { nobody, sniffer: mirrored(), ...rest };
const ways = { ...unfiltered, 'sniffer, filtered': mirrored({ filter: WANTED }) };
const oneCore = (nice: number) => mirrored({ core: '0', nice });

const LOADS: readonly Load[] = [
  { name: 'small requests', at: '/small', ways },
  { name: '1 in 100 wanted', at: '/small', script: 'wanted.lua', ways },
  { name: '1 MB answers', at: '/large', ways: unfiltered },
  {
    name: '1 MB uploads',
    at: '/upload',
    script: 'upload.lua',
    ways: { ...unfiltered, 'sniffer, exec': mirrored({ resets: true }) },
  },
  {
    name: 'small requests, the sniffer on the core of target and load',
    at: '/small',
    ways: { nobody, 'nice 0': oneCore(0), 'nice 10': oneCore(10), 'nice 19': oneCore(19) },
  },
];

function microsOf(text: string): number {
  const [, number = '0', unit = 'us'] = /([0-9.]+)(us|ms|s)/.exec(text) ?? [];
  return Number(number) * { us: 1, ms: 1_000, s: 1_000_000 }[unit as 'us' | 'ms' | 's'];
}

async function sample(stage: MirrorStage, { at, script }: Load, start: Way): Promise<Sample> {
  const words = ['wrk', '-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency'];
  if (script !== undefined) words.push('-s', path.join(stage.folder, script));
  const copying = await start(stage);
  const before = copying.cpuMs();
  const { said, cpuMs } = await stage.load([...words, `http://10.99.0.1:${PORT}${at}`]);
  const copierMs = copying.cpuMs() - before;
  const requests = Number(/(\d+) requests in/.exec(said)?.[1] ?? 0);
  if (requests === 0) throw new Error(`the load failed:\n${said}`);
  const micros = (line: RegExp) => microsOf(line.exec(said)?.[1] ?? '');
  return {
    perSecond: requests / seconds,
    pathMicros: (cpuMs * 1_000) / requests,
    copierMs: copierMs * (10_000 / requests),
    p50: micros(/^ +50% +(\S+)/m),
    p99: micros(/^ +99% +(\S+)/m),
    lost: (await copying.stop(0)).lost,
  };
}

function print(title: string, samples: Map<string, Sample[]>): void {
  const of = (name: string, key: Exclude<keyof Sample, 'lost'>) => (samples.get(name) ?? []).map((one) => one[key]);
  const rows = [...samples.keys()].map((name) => {
    const to = (key: Exclude<keyof Sample, 'lost'>) => ratios(of(name, key), of('nobody', key));
    const [rate, least, most] = to('perSecond');
    const spread = `${least.toFixed(2)} to ${most.toFixed(2)}`;
    const lost = samples.get(name)?.at(-1)?.lost ?? '';
    const [path, p50, p99] = [to('pathMicros')[0], to('p50')[0], to('p99')[0]];
    return [name, median(of(name, 'perSecond')), rate, spread, path, p50, p99, median(of(name, 'copierMs')), lost];
  });
  printTable(
    title,
    [
      '',
      'requests/s',
      'to nobody',
      'rounds',
      'CPU of load and target',
      'p50',
      'p99',
      "copier's CPU ms / 10,000",
      'lost (reason: what), last round',
    ],
    rows,
  );
}

await using stage = await MirrorStage.start();
for (const load of LOADS) {
  const samples = new Map<string, Sample[]>(Object.keys(load.ways).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, start] of Object.entries(load.ways)) samples.get(name)?.push(await sample(stage, load, start));
  }
  print(load.name, samples);
}
