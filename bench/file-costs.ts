// Where the processor time of a large remote file goes: user and system time of each process, ms for a GiB, for `dd` through
// mirrord and for the plain session that large-file compares it with, in turns. What the same run takes with nothing to read
// is taken off.

import { Whole } from '../test/fixtures/whole.ts';
import { isPlainReader, orderOf, readPlain, readThroughLayer } from './large-file-readers.ts';
import { ProcessTimes, type Times } from './process-times.ts';
import { median, printTable } from './table.ts';

const MIB = Number(process.argv[2] ?? 512);
const ROUNDS = Number(process.argv[3] ?? 3);

/** Of the client: a unix socket, or `tcp`. */
const HOP = process.argv[4] ?? 'unix';

/** By what is in their command line; the first that fits. */
const ROLES = [
  ['plain reader', '/build/bench/'],
  ['agent', '/dist/agent'],
  ['fs-env', '/dist/fs-env'],
  ['nats-server', 'nats-server'],
  ['supervisor', 'mirrord-supervisor'],
  ['client', '\0exec\0'],
  ['dd', 'dd\0'],
] as const;

async function main(): Promise<void> {
  const listen = HOP === 'tcp' ? { listen: '127.0.0.1:0' } : {};
  const whole = await Whole.start({ variables: { SHOP_MODE: 'bench' }, ...listen });
  const layer: Map<string, Times>[] = [];
  const plain: Map<string, Times>[] = [];
  try {
    const order = orderOf(whole, whole.address, MIB * 2 ** 20);
    const nothing = { ...order, bytes: 0 };
    for (let round = 0; round <= ROUNDS; round++) {
      const through = await timesOf(whole, () => readThroughLayer(whole, order));
      const besides = await timesOf(whole, () => readPlain(order));
      const throughStart = await timesOf(whole, () => readThroughLayer(whole, nothing));
      const besidesStart = await timesOf(whole, () => readPlain(nothing));
      if (round === 0) continue;
      layer.push(less(through, throughStart));
      plain.push(less(besides, besidesStart));
    }
  } finally {
    await whole.close();
  }
  printTable(
    `processor time of ${MIB} MiB by ${HOP}, ms a GiB, medians of ${ROUNDS} rounds in turns, starts taken off`,
    ['reader', 'process', 'user', 'system', 'both'],
    [...rowsOf('plain session', plain), ...rowsOf('dd', layer)],
  );
}

async function timesOf(whole: Whole, read: () => Promise<number>): Promise<Map<string, Times>> {
  const times = new ProcessTimes([whole.agent.pid ?? 0, process.pid], ROLES);
  await read();
  return times.end();
}

function less(all: Map<string, Times>, start: Map<string, Times>): Map<string, Times> {
  const rest = new Map<string, Times>();
  for (const [role, { userMs, systemMs }] of all) {
    const off = start.get(role);
    rest.set(role, { userMs: userMs - (off?.userMs ?? 0), systemMs: systemMs - (off?.systemMs ?? 0) });
  }
  return rest;
}

function rowsOf(reader: string, rounds: readonly Map<string, Times>[]): (string | number)[][] {
  const scale = 1024 / MIB;
  const middle = (role: string, of: (times: Times) => number) =>
    median(rounds.map((round) => of(round.get(role) ?? { userMs: 0, systemMs: 0 }))) * scale;
  const roles = ROLES.map(([role]) => role).filter((role) => rounds.some((round) => round.has(role)));
  const rows = roles.map((role) => {
    const [user, system] = [middle(role, ({ userMs }) => userMs), middle(role, ({ systemMs }) => systemMs)];
    return [reader, role, user, system, user + system];
  });
  const sum = (column: number) => rows.reduce((ms, row) => ms + (row[column] as number), 0);
  return [...rows, [reader, 'all', sum(2), sum(3), sum(4)]];
}

if (!(await isPlainReader())) await main();
