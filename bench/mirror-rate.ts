// The highest rate that is copied with nothing lost, and what a copy costs: the load comes at a rate of its own (h2load --rps),
// which is doubled until something is lost and then halved toward it, by a number of steps that is known. For the sniffer also
// whether its sum is exact: what was sent, less what arrived, less what was told to be lost. Uploads once more without its own
// limit for bulk (MIRRORD_SNIFFER_BYTES_PER_SECOND, 128 MiB unless it is set).
//
// node bench/run.mjs mirror-rate [SECONDS] [LOAD] [WAY]; needs root, nginx, h2load; tcpdump and tcpflow for their rows. LOAD and
// WAY: a part of the names of those that are wanted.

import path from 'node:path';
import { type Copied, HOST, MirrorStage, mirrored, others, PORT, type Way } from './mirror-stage.ts';
import { printTable } from './table.ts';

const seconds = Number(process.argv[2] ?? 2);
const wantedLoad = process.argv[3] ?? '';
const wantedWay = process.argv[4] ?? '';
/** Between what holds and what does not; and so many steps at most. */
const NEAR = 1.1;
const MAX_STEPS = 10;
/** Of what was asked for; below it the load itself is at its end. */
const KEPT_UP = 0.95;
const BYTES_PER_MB = 1e6;
/** Of a load that cannot keep up: so many times what it should take. */
const PATIENCE = 4;

interface Load {
  readonly name: string;
  readonly words: (stage: MirrorStage) => readonly string[];
  readonly at: string;
  /** Each begins with a request at once: of large ones few, or the beginning is the highest rate. */
  readonly connections: (rate: number) => number;
  /** Requests a second. */
  readonly first: number;
  readonly ways: Readonly<Record<string, Way>>;
}

const LOADS: readonly Load[] = [
  {
    name: 'small requests',
    words: () => [],
    at: '/small',
    connections: () => 32,
    first: 5_000,
    ways: { sniffer: mirrored(), ...others() },
  },
  {
    name: '1 MB uploads',
    words: ({ folder }) => ['-d', path.join(folder, 'large')],
    at: '/upload',
    connections: (rate) => (rate < 100 ? 1 : 4),
    first: 10,
    ways: {
      sniffer: mirrored(),
      'sniffer, no limit for bulk': mirrored({ env: { MIRRORD_SNIFFER_BYTES_PER_SECOND: '0' } }),
      ...others(),
    },
  },
];

interface Step {
  readonly rate: number;
  readonly perSecond: number;
  readonly mbPerSecond: number;
  readonly cpuMs: number;
  readonly copied: Copied;
  /** Sent, less arrived and told to be lost. */
  readonly unaccounted: string;
}

async function step(stage: MirrorStage, load: Load, requestBytes: number, start: Way, rate: number): Promise<Step> {
  const connections = load.connections(rate);
  const perClient = rate / connections;
  const count = Math.max(connections, Math.round(rate * seconds));
  const words = ['h2load', '--h1', '-t1', `-c${connections}`, `-n${count}`, `--rps=${perClient.toFixed(3)}`];
  // What does not come in this time has failed; the load says how many were answered.
  words.push(`--connection-active-timeout=${Math.ceil(seconds * PATIENCE)}`);
  const copying = await start(stage);
  const before = copying.cpuMs();
  const { said } = await stage.load([...words, ...load.words(stage), `http://${HOST}:${PORT}${load.at}`]);
  const cpuMs = copying.cpuMs() - before;
  const done = Number(/(\d+) succeeded/.exec(said)?.[1] ?? 0);
  const perSecond = Number(/finished in [^,]+, ([0-9.]+) req\/s/.exec(said)?.[1] ?? 0);
  if (done === 0) throw new Error(`the load failed:\n${said}`);
  const copied = await copying.stop(count * requestBytes);
  const isKnown = copied.bytes !== null && done === count;
  return {
    rate,
    perSecond,
    mbPerSecond: (perSecond * requestBytes) / BYTES_PER_MB,
    cpuMs: cpuMs * (10_000 / done),
    copied,
    unaccounted: isKnown ? `${count * requestBytes - (copied.bytes ?? 0)} B` : '?',
  };
}

/** Of one request of this load, as the sniffer sees it. */
async function measureRequest(stage: MirrorStage, load: Load): Promise<number> {
  const copying = await mirrored()(stage);
  await stage.load(['h2load', '--h1', '-t1', '-c1', '-n1', ...load.words(stage), `http://${HOST}:${PORT}${load.at}`]);
  const { bytes } = await copying.stop(0);
  if (bytes === null || bytes === 0) throw new Error(`${load.name}: no request was seen`);
  return bytes;
}

/** The highest rate at which nothing is lost and the load keeps up, and what happens one step above it. */
async function search(stage: MirrorStage, load: Load, requestBytes: number, start: Way): Promise<(string | number)[]> {
  let best: Step | null = null;
  let beyond: Step | null = null;
  let rate = load.first;
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    const one = await step(stage, load, requestBytes, start, rate);
    if (one.copied.isWhole && (best === null || one.perSecond > best.perSecond)) best = one;
    if (!one.copied.isWhole || one.perSecond < one.rate * KEPT_UP) beyond = one;
    const low = best === null ? 0 : Math.min(best.rate, best.perSecond / KEPT_UP);
    if (beyond !== null && beyond.rate < low * NEAR) break;
    if (beyond === null) rate *= 2;
    else rate = low === 0 ? beyond.rate / 4 : Math.sqrt(low * beyond.rate);
  }
  const then = beyond === null ? 'no more steps' : afterwards(beyond);
  const sum = [best, beyond].flatMap((one) => (one === null ? [] : [one.unaccounted]));
  return [best?.perSecond ?? 0, best?.mbPerSecond ?? 0, best?.cpuMs ?? 0, then, sum.join(', ')];
}

function afterwards({ copied, perSecond, rate }: Step): string {
  return copied.isWhole
    ? `the load is at its end: ${perSecond.toFixed(0)} of ${rate}/s`
    : `at ${perSecond.toFixed(0)}/s: ${copied.lost}`;
}

await using stage = await MirrorStage.start();
for (const load of LOADS) {
  if (!load.name.includes(wantedLoad)) continue;
  const requestBytes = await measureRequest(stage, load);
  const rows: (string | number)[][] = [];
  for (const [name, start] of Object.entries(load.ways)) {
    if (!name.includes(wantedWay)) continue;
    rows.push([name, ...(await search(stage, load, requestBytes, start))]);
  }
  const head = ['', 'requests/s, none lost', 'MB/s', 'CPU ms / 10,000', 'then', 'sent - arrived - told, at both'];
  printTable(`${load.name} of ${requestBytes} B`, head, rows);
}
