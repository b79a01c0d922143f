// What a mirror costs the target, and what it costs itself: requests through the target alone, with the sniffer copying them,
// with tcpdump writing them, with a program that calls recvfrom for each packet. The kernel's share of the sniffer: a ring that
// is large enough for all, and nobody who reads it meanwhile. Once more with everybody on one core, where somebody must step back.
//
// node bench/run.mjs mirror-capture [ROUNDS] [SECONDS] [LOAD]; needs root, nginx, wrk, and tcpdump for its row. LOAD: a part of
// the names of the loads that are wanted.

import path from 'node:path';
import {
  CONNECTIONS,
  HOST,
  MANY_CONNECTIONS,
  MirrorStage,
  mirrored,
  nobody,
  others,
  PER_MILLION,
  PORT,
  WANTED,
  type Way,
} from './mirror-stage.ts';
import { median, printTable, ratios } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const wantedLoad = process.argv[4] ?? '';
/** A sniffer lives for minutes: what it takes to compile its code, and to find its place, is no part of a request. */
const WARM_UP_SECONDS = 2;

interface Load {
  readonly name: string;
  readonly at: string;
  /** Of the stage's folder. */
  readonly script?: string;
  readonly connections?: number;
  readonly ways: Readonly<Record<string, Way>>;
}

interface Figures {
  readonly perSecond: number;
  readonly pathMicros: number;
  readonly copierMs: number;
  readonly p50: number;
  readonly p99: number;
}

interface Sample extends Figures {
  readonly lost: string;
  /** Sent, less arrived, less told to be lost; known where requests are alike and nothing follows them. */
  readonly unaccounted: string;
}

const { tcpflow: _, ...rest } = others();
const unfiltered = {
  nobody,
  sniffer: mirrored(),
  // As before Linux 6.6.
  'sniffer, packet socket': mirrored({ env: { MIRRORD_SNIFFER_FILTER: 'ebpf' } }),
  "the kernel's share": mirrored({ isStopped: true }),
  ...rest,
};

const LOADS: readonly Load[] = [
  { name: 'small requests', at: '/small', ways: unfiltered },
  {
    name: '1 request in 100 wanted',
    at: '/small',
    script: 'wanted.lua',
    connections: MANY_CONNECTIONS,
    ways: {
      nobody,
      sniffer: mirrored(),
      'by path': mirrored({ filter: WANTED }),
      'by sample': mirrored({ sample: PER_MILLION }),
    },
  },
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
    ways: {
      nobody,
      sniffer: mirrored({ core: '0' }),
    },
  },
];

function microsOf(text: string): number {
  const [, number = '0', unit = 'us'] = /([0-9.]+)(us|ms|s)/.exec(text) ?? [];
  return Number(number) * { us: 1, ms: 1_000, s: 1_000_000 }[unit as 'us' | 'ms' | 's'];
}

async function sample(stage: MirrorStage, load: Load, start: Way): Promise<Sample> {
  const { at, script, connections = CONNECTIONS } = load;
  const run = (forSeconds: number) => {
    const words = ['wrk', '-t1', `-c${connections}`, `-d${forSeconds}s`, '--latency'];
    if (script !== undefined) words.push('-s', path.join(stage.folder, script));
    return stage.load([...words, `http://${HOST}:${PORT}${at}`]);
  };
  const copying = await start(stage);
  const already = await stage.requests();
  await run(WARM_UP_SECONDS);
  const before = copying.cpuMs();
  const { said, cpuMs } = await run(seconds);
  const copierMs = copying.cpuMs() - before;
  const requests = Number(/(\d+) requests in/.exec(said)?.[1] ?? 0);
  if (requests === 0) throw new Error(`the load failed:\n${said}`);
  const { lost, bytes } = await copying.stop(0);
  const sent = ((await stage.requests()) - already) * `GET ${at} HTTP/1.1\r\nHost: ${HOST}:${PORT}\r\n\r\n`.length;
  const micros = (line: RegExp) => microsOf(line.exec(said)?.[1] ?? '');
  return {
    perSecond: requests / seconds,
    pathMicros: (cpuMs * 1_000) / requests,
    copierMs: copierMs * (10_000 / requests),
    p50: micros(/^ +50% +(\S+)/m),
    p99: micros(/^ +99% +(\S+)/m),
    lost,
    unaccounted: bytes === null || script !== undefined ? '' : `${sent - bytes} B`,
  };
}

const HEADER = [
  '',
  'requests/s',
  'to nobody',
  'rounds',
  'CPU of load and target',
  'p50',
  'p99',
  "copier's CPU ms / 10,000",
  'to sniffer',
  'lost (reason: what), last round',
  'sent - arrived - told',
];

function print(title: string, samples: Map<string, Sample[]>): void {
  const of = (name: string, key: keyof Figures) => (samples.get(name) ?? []).map((one) => one[key]);
  const rows = [...samples.keys()].map((name) => {
    const to = (key: keyof Figures) => ratios(of(name, key), of('nobody', key));
    const [rate, least, most] = to('perSecond');
    const { lost = '', unaccounted = '' } = samples.get(name)?.at(-1) ?? {};
    const ofSniffer = samples.has('sniffer') ? ratios(of(name, 'copierMs'), of('sniffer', 'copierMs'))[0] : '';
    return [
      name,
      median(of(name, 'perSecond')),
      rate,
      `${least.toFixed(2)} to ${most.toFixed(2)}`,
      to('pathMicros')[0],
      to('p50')[0],
      to('p99')[0],
      median(of(name, 'copierMs')),
      ofSniffer,
      lost,
      unaccounted,
    ];
  });
  printTable(title, HEADER, rows);
}

await using stage = await MirrorStage.start();
for (const load of LOADS) {
  if (!load.name.includes(wantedLoad)) continue;
  const samples = new Map<string, Sample[]>(Object.keys(load.ways).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, start] of Object.entries(load.ways)) samples.get(name)?.push(await sample(stage, load, start));
  }
  print(load.name, samples);
}
