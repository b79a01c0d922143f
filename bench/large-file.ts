// One large remote file, read by `dd` through mirrord. The baseline is the same bytes asked for on the same kind of
// session by a process as young as mirrord's client, without a layer: reads of 256 KiB, twelve on their way at a time as
// the client's read-ahead has them. What lies between the two is the layer: supervisor, FUSE and the client's part of both.
//
// On a machine where others work, the processor time of all processes together says more than the clock: both are shown,
// and of both what the same run costs with nothing to read is taken off.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Session } from '../client/session.ts';
import { dial } from '../proto/dial.ts';
import { mintToken, newSessionId, parseSessionKey } from '../proto/token.ts';
import { Whole } from '../test/fixtures/whole.ts';
import { startDelayRelay } from './delay-relay.ts';
import { cpuMsOf } from './processor.ts';
import { median, printTable, ratios } from './table.ts';

const MIB = Number(process.argv[2] ?? 1024);
const ROUNDS = Number(process.argv[3] ?? 3);
/** Over a distance it is the window that is asked for, not the processor: less will do. */
const FAR_MIB = Math.min(MIB, 128);
/** `large-file 512 3 0` leaves the distances out. */
const FAR_MS = process.argv[4] === '0' ? [] : [20, 100];
const FILE = '/srv/large.bin';
const READ_BYTES = 256 * 1024;
const READS_IN_FLIGHT = 12;

interface Order {
  readonly address: string;
  readonly keyFile: string;
  readonly pid: number;
  readonly bytes: number;
}

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
  const bytes = mib * 2 ** 20;
  const file = path.join(whole.target.root, FILE);
  mkdirSync(path.dirname(file), { recursive: true });
  const fd = openSync(file, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
  const order: Order = { address, keyFile: path.join(whole.base, 'key'), pid: whole.target.pid, bytes };
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

/** By the reader's own clock: the start of mirrord is not in it. */
async function readThroughLayer(whole: Whole, { address, bytes }: Order): Promise<number> {
  const count = `count=${bytes / READ_BYTES}`;
  const { code, stdout, stderr } = await whole.exec(['dd', `if=${FILE}`, 'of=/dev/null', 'bs=256K', count], {
    variables: { MIRRORD_AGENT_ADDRESS: address, LC_ALL: 'C' },
    deadlineMs: 600_000,
  });
  const [, copied, seconds] = /^(\d+) bytes.* copied, ([\d.e+-]+) s/m.exec(stderr) ?? [];
  if (code !== 0 || Number(copied) !== bytes) throw new Error(`dd ended with ${code}: ${stdout}${stderr}`);
  return Number(seconds) * 1000;
}

async function readPlain(order: Order): Promise<number> {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), {
    env: { ...process.env, BENCH_ORDER: JSON.stringify(order) },
  });
  const [ms] = (await once(child, 'message')) as [number];
  if (child.exitCode === null) await once(child, 'exit');
  return ms;
}

async function runPlain({ address, keyFile, pid, bytes }: Order): Promise<void> {
  const key = parseSessionKey(readFileSync(keyFile, 'utf8'));
  const session = await Session.open({
    dial,
    address,
    token: mintToken(key, newSessionId(), 60),
    target: { kind: 'pid', pid },
    wantsEnvironment: false,
    wantsFiles: true,
    deadlineMs: 10_000,
    onEvent: () => {},
    onLost: () => {},
  });
  const startedAt = performance.now();
  await copy(session, bytes);
  process.send?.(performance.now() - startedAt);
  await session.close();
  process.disconnect();
}

async function copy(session: Session, bytes: number): Promise<void> {
  const open = { path: Buffer.from(FILE), flags: 0, mode: 0, inlineBytes: 0 };
  const { reply } = await session.request({ $case: 'open', value: open });
  if (reply.result?.$case !== 'opened') throw new Error(`open: errno ${reply.errno}`);
  const { handle } = reply.result.value;
  let offset = 0;
  let received = 0;
  const readOn = async () => {
    while (offset < bytes) {
      const value = { handle, offset: BigInt(offset), length: READ_BYTES };
      offset += READ_BYTES;
      const { data } = await session.request({ $case: 'read', value });
      received += data.length;
    }
  };
  await Promise.all(Array.from({ length: READS_IN_FLIGHT }, readOn));
  session.tell({ $case: 'close', value: { handle } });
  if (received !== bytes) throw new Error(`received ${received} bytes`);
}

const order = process.env['BENCH_ORDER'];
if (order === undefined) await main();
else await runPlain(JSON.parse(order) as Order);
