// One large remote file, read by `dd` through mirrord. The baseline is the same bytes asked for on the same kind of
// session by a process as young as mirrord's client, without a layer: reads of 256 KiB, twelve on their way at a time as
// the client's read-ahead has them. What lies between the two is the layer: supervisor, FUSE and the client's part of both.
//
// On a machine where others work, the processor time of all processes together says more than the clock: both are shown,
// and of both what the same run costs with nothing to read is taken off.

import { Whole } from '../test/fixtures/whole.ts';
import { startDelayRelay } from './delay-relay.ts';
import { isPlainReader, orderOf, readPlain, readThroughLayer } from './large-file-readers.ts';
import { cpuMsOf } from './processor.ts';
import { median, printTable, ratios } from './table.ts';

const MIB = Number(process.argv[2] ?? 1024);
const ROUNDS = Number(process.argv[3] ?? 3);
/** Over a distance it is the window that is asked for, not the processor: less will do. */
const FAR_MIB = Math.min(MIB, 128);
/** `large-file 512 3 0` leaves the distances out. */
const FAR_MS = process.argv[4] === '0' ? [] : [20, 100];

async function main(): Promise<void> {
  const rows: (string | number)[][] = [];
  const near = await Whole.start({ variables: { SHOP_MODE: 'bench' } });
  try {
    rows.push(...(await compare(near, 'unix socket', near.address, MIB)));
  } finally {
    await near.close();
  }
  const far = await Whole.start({ variables: { SHOP_MODE: 'bench' }, listen: '127.0.0.1:0' });
  try {
    rows.push(...(await compare(far, 'TCP', far.address, MIB)));
    for (const roundTripMs of FAR_MS) {
      const relay = await startDelayRelay(far.address, roundTripMs);
      rows.push(...(await compare(far, `TCP, ${roundTripMs} ms`, relay.address, FAR_MIB)));
      await relay.close();
    }
  } finally {
    await far.close();
  }
  printTable(
    `a file of the target, medians of ${ROUNDS} runs in turns, starts left out; at least 0.8 of the plain session`,
    ['reader', 'MiB', 'ms', 'MiB/s', 'ratio', 'least', 'most', 'CPU ms', 'ratio', 'least', 'most'],
    rows,
  );
}

async function compare(whole: Whole, hop: string, address: string, mib: number): Promise<(string | number)[][]> {
  const order = orderOf(whole, address, mib * 2 ** 20);
  const layer: Cost[] = [];
  const plain: Cost[] = [];
  const layerStarts: number[] = [];
  const plainStarts: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const through = await costOf(whole, () => readThroughLayer(whole, order));
    const besides = await costOf(whole, () => readPlain(order));
    const nothing = { ...order, bytes: 0 };
    const throughStart = await costOf(whole, () => readThroughLayer(whole, nothing));
    const besidesStart = await costOf(whole, () => readPlain(nothing));
    // The first warms the page cache.
    if (round === 0) continue;
    layer.push(through);
    plain.push(besides);
    layerStarts.push(throughStart.cpuMs);
    plainStarts.push(besidesStart.cpuMs);
  }
  const rate = (ms: number) => (mib / ms) * 1000;
  const row = (
    name: string,
    costs: readonly Cost[],
    starts: readonly number[],
    compared: readonly (number | string)[][],
  ) => {
    const ms = median(costs.map((cost) => cost.ms));
    const cpuMs = median(costs.map((cost) => cost.cpuMs)) - median(starts);
    return [`${name}, ${hop}`, mib, ms, rate(ms), ...(compared[0] ?? []), cpuMs, ...(compared[1] ?? [])];
  };
  const [layerStart, plainStart] = [median(layerStarts), median(plainStarts)];
  const times = ratios(
    plain.map(({ ms }) => ms),
    layer.map(({ ms }) => ms),
  );
  const processor = ratios(
    plain.map(({ cpuMs }) => cpuMs - plainStart),
    layer.map(({ cpuMs }) => cpuMs - layerStart),
  );
  return [
    row('plain session', plain, plainStarts, [
      [1, '', ''],
      [1, '', ''],
    ]),
    row('dd', layer, layerStarts, [times, processor]),
  ];
}

interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
}

/** Of all processes: the agent with what it has started, and what this process has started and waited for. */
async function costOf(whole: Whole, read: () => Promise<number>): Promise<Cost> {
  const before = cpuMsOf(whole.agent.pid ?? 0);
  const ms = await read();
  return { ms, cpuMs: cpuMsOf(whole.agent.pid ?? 0) - before };
}

if (!(await isPlainReader())) await main();
