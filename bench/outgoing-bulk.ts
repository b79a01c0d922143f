// Connections through the whole of mirrord against the same straight, through `ssh -L`, through two socats, and against the
// tuned session stream that carries nothing else ("session"; "renewable" as mirrord's own is, which can go on over another connection) or what plain sockets bring and take ("sockets"), and by the door
// in TLS ("tls"): bulk down and up, one question at a time, a question beside bulk, connects and lookups. A distance is two network namespaces and packets
// that take their time (test/fixtures/distance.c), the client's end of every way in one of them, the other end in the other;
// its own most, with the kernel's TCP and no delay, is printed first. The ways take turns.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type DistanceOptions, FAR, startDistance } from '../test/fixtures/distance.ts';
import { Whole } from '../test/fixtures/whole.ts';
import { type ForwardOrder, runForward } from './outgoing-forward.ts';
import { runSession, type SessionOrder } from './outgoing-session.ts';
import { type Ends, HERE, Ways } from './outgoing-ways.ts';
import { median, printTable, ratios } from './table.ts';

const ROUNDS = Number(process.argv[2] ?? 3);
const ROUND_TRIPS_MS = (process.argv[3] ?? '0,20,100').split(',').map(Number);
const WHAT = new Set((process.argv[4] ?? 'down,up,ask,beside,trips').split(','));
/** Of the distance; "default" is the machine's. */
const CONGESTION = process.argv[5] ?? 'default';
const MBIT = Number(process.argv[6] ?? 0);
const LOST = Number(process.argv[7] ?? 0);
const NAMES = ['session', 'renewable', 'sockets', 'mirrord', 'tls', 'ssh', 'socat', 'direct'] as const;
type Name = (typeof NAMES)[number];

/** The first warms up; each is asked for the first time once. */
const NAMES_ASKED = Array.from({ length: 9 }, (_, at) => `db${at}.shop.test`);

/** What was printed, by what was asked. */
type Ask = (...words: string[]) => Promise<number[]>;
type Results = Record<Name, number[]>;

async function main(): Promise<void> {
  for (const roundTripMs of ROUND_TRIPS_MS) {
    if (roundTripMs === 0) {
      await compare(HERE, 0);
      continue;
    }
    const link = { ...(CONGESTION === 'default' ? {} : { congestion: CONGESTION }), mbit: MBIT, lost: LOST };
    await across({ ...link, roundTripMs: 0 }, printMost);
    await across({ ...link, roundTripMs }, (ends) => compare(ends, roundTripMs));
  }
}

async function across(options: DistanceOptions, act: (ends: Ends) => Promise<void>): Promise<void> {
  const distance = await startDistance(options);
  try {
    await act({ ...distance, host: FAR });
  } finally {
    console.log(`packets lost: ${await distance.close()}`);
  }
}

function buildProgram(ways: Ways): string {
  const program = path.join(ways.folder, 'outgoing');
  execFileSync('cc', ['-O2', '-pthread', '-o', program, path.join(import.meta.dirname, 'src/outgoing.c')]);
  return program;
}

async function printMost(ends: Ends): Promise<void> {
  const ways = new Ways(ends);
  try {
    const program = buildProgram(ways);
    const port = await ways.serve([...ends.far, program, 'serve', '0']);
    const ask = () => ways.ask([...ends.near, program, 'down', ends.host, String(port), '512']);
    const [first = 0] = await ask();
    const [second = 0] = await ask();
    console.log(`the distance itself, without a delay: ${Math.round(512_000 / Math.min(first, second))} MiB/s`);
  } finally {
    await ways.close();
  }
}

async function compare(ends: Ends, roundTripMs: number): Promise<void> {
  const ways = new Ways(ends);
  const program = buildProgram(ways);
  const whole = await Whole.start({
    variables: {},
    listen: `${ends.host}:0`,
    before: ends.far,
    agentVariables: { MIRRORD_DIRECT_LISTEN: `${ends.host}:0` },
    files: { '/etc/resolv.conf': 'nameserver 127.0.0.1\n', '/etc/hosts': '127.0.0.1 localhost\n' },
  });
  const closing: (() => void)[] = [];
  try {
    const inTarget = ['nsenter', '-t', String(whole.target.pid), '-n'];
    const names = path.join(import.meta.dirname, '../test/fixtures/name-server.mjs');
    const targetPort = await ways.serve([...inTarget, program, 'serve', '0']);
    const records = NAMES_ASKED.flatMap((name) => [`${name}/A=10.1.2.3`, `${name}/AAAA=fd00::1`]);
    await ways.say([...inTarget, process.execPath, names, '127.0.0.1', ...records]);
    const port = await ways.serve([...ends.far, program, 'serve', '0']);
    const session = await startSession(ends);
    closing.push(session.close);
    const forward = await startForward(ends, port);
    closing.push(forward.close);
    const ports = { ...(await ways.start(port)), sockets: forward.port };
    const near =
      (at: number, host = '127.0.0.1'): Ask =>
      (what = '', ...words) =>
        ways.ask([...ends.near, program, what, host, String(at), ...words]);
    const agentPort = whole.address.slice(whole.address.lastIndexOf(':') + 1);
    const inMirrordAt = async (address: string, words: string[]) => {
      const options = { before: ends.near, deadlineMs: 300_000, variables: { MIRRORD_AGENT_ADDRESS: address } };
      const { code, stdout, stderr } = await whole.exec([program, ...words], options);
      if (code !== 0) throw new Error(`${words[0]} ended with ${code}: ${stdout}${stderr}`);
      return stdout.trim().split(' ').map(Number);
    };
    const inMirrord: Ask = (...words) => inMirrordAt(`localhost:${agentPort}`, words);
    const throughMirrord: Ask = (what = '', ...words) => inMirrord(what, '127.0.0.1', String(targetPort), ...words);
    const throughTls: Ask = (what = '', ...words) =>
      inMirrordAt(`tls:${whole.directAddress}`, [what, '127.0.0.1', String(targetPort), ...words]);
    const asks: Asks = {
      session: async (what = '', mib = '') => [await session.carry(what as 'down' | 'up', Number(mib), false)],
      renewable: async (what = '', mib = '') => [await session.carry(what as 'down' | 'up', Number(mib), true)],
      sockets: near(ports.sockets),
      mirrord: throughMirrord,
      tls: throughTls,
      ssh: near(ports.ssh),
      socat: near(ports.socat),
      direct: near(port, ends.host),
    };
    await compareAll(asks, roundTripMs);
    if (roundTripMs > 0 && WHAT.has('trips')) await printRoundTrips(roundTripMs, throughMirrord, inMirrord);
  } finally {
    for (const close of closing) close();
    await whole.close();
    await ways.close();
  }
}

type Asks = Record<Name, Ask>;

async function compareAll(asks: Asks, roundTripMs: number): Promise<void> {
  const mib = roundTripMs === 0 ? 512 : roundTripMs <= 20 ? 256 : 128;
  for (const what of ['down', 'up'].filter((what) => WHAT.has(what))) {
    const results = await takeTurns(NAMES, (name) => asks[name](what, String(mib)));
    print(`bulk ${what}, ${mib} MiB, ${roundTripMs} ms`, 'MiB/s', results, (ms) => (mib / ms) * 1000);
  }
  const others = NAMES.filter((name) => name !== 'session' && name !== 'renewable');
  if (WHAT.has('ask')) {
    const asked = roundTripMs === 0 ? 3_000 : Math.ceil(2_000 / roundTripMs);
    const questions = await takeTurns(others, (name) => asks[name]('ask', String(asked)));
    print(`one question at a time, ${roundTripMs} ms`, 'a second', questions, (ms) => (asked / ms) * 1000);
  }
  if (!WHAT.has('beside')) return;
  const beside = await takeTurns(others, (name) => asks[name]('beside', '60'));
  print(`a question beside bulk down, ${roundTripMs} ms`, 'ms, p50', beside, (ms) => ms);
}

/**
 * What the program waits for in connect(2) and getaddrinfo(3), in round trips. The least is what it takes, since a delay is
 * never less than it should be; the first of its kind in a session runs code that nobody has run before.
 */
async function printRoundTrips(roundTripMs: number, throughMirrord: Ask, inMirrord: Ask): Promise<void> {
  const [relayed = 0] = await throughMirrord('ask', '20');
  const rows: [string, number, number, number][] = [
    ['a question on an open connection', relayed / 20, relayed / 20, 0],
  ];
  const [cold = 0, least = 0, middle = 0] = await throughMirrord('connect', '20');
  rows.push(['connect', least, middle, cold]);
  for (const family of ['4', 'any']) {
    const [first = 0, ...rest] = await inMirrord('lookup', family, ...NAMES_ASKED);
    rows.push([`a name, ${family === '4' ? 'A' : 'A and AAAA'}`, rest[0] ?? 0, rest[1] ?? 0, first]);
    rows.push(['the same again', rest[2] ?? 0, rest[3] ?? 0, 0]);
  }
  printTable(
    `round trips of ${roundTripMs} ms`,
    ['what', 'least', 'median', 'first of the session'],
    rows.map(([what, ...ms]) => [what, ...ms.map((one) => one / roundTripMs)]),
  );
}

async function takeTurns(names: readonly Name[], run: (name: Name) => Promise<number[]>): Promise<Results> {
  const results: Results = {
    session: [],
    renewable: [],
    sockets: [],
    mirrord: [],
    tls: [],
    ssh: [],
    socat: [],
    direct: [],
  };
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of names) results[name].push((await run(name))[0] ?? Number.NaN);
  }
  return results;
}

function print(title: string, unit: string, results: Results, show: (ms: number) => number): void {
  const rows = NAMES.filter((name) => results[name].length > 0).map((name) => {
    // Of time: the other's over mirrord's is how much faster mirrord is.
    const [middle, least, most] = ratios(results[name], results.mirrord);
    return [name, show(median(results[name])), middle, least, most];
  });
  printTable(`${title}, medians of ${ROUNDS}`, ['way', unit, "time of it / mirrord's", 'least', 'most'], rows);
}

interface SessionBench {
  carry(role: 'down' | 'up', mib: number, isRenewable: boolean): Promise<number>;
  close(): void;
}

async function startSession({ near, far, host }: Ends): Promise<SessionBench> {
  const start = (where: readonly string[], order: SessionOrder) =>
    startOwn(where, { BENCH_SESSION: JSON.stringify(order) });
  const server = start(far, { role: 'server', host });
  const [address] = (await once(server, 'message')) as [string];
  return {
    carry: async (role, mib, isRenewable) => {
      const client = start(near, { role, address, mib, isRenewable });
      const [ms] = (await once(client, 'message')) as [number];
      client.kill('SIGKILL');
      return ms;
    },
    close: () => server.kill('SIGKILL'),
  };
}

/** Two processes that forward to `port`, and the distance between them. */
async function startForward({ near, far, host }: Ends, port: number): Promise<{ port: number; close(): void }> {
  const start = async <T>(where: readonly string[], order: ForwardOrder): Promise<[ChildProcess, T]> => {
    const child = startOwn(where, { BENCH_FORWARD: JSON.stringify(order) });
    return [child, ((await once(child, 'message')) as [T])[0]];
  };
  const [farEnd, address] = await start<string>(far, { role: 'far', host, port });
  const [nearEnd, at] = await start<number>(near, { role: 'near', address });
  return {
    port: at,
    close: () => {
      for (const child of [nearEnd, farEnd]) child.kill('SIGKILL');
    },
  };
}

/** This very program, with an order. */
function startOwn(where: readonly string[], variables: Record<string, string>): ChildProcess {
  const [file = '', ...words] = [...where, process.execPath, fileURLToPath(import.meta.url)];
  const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const;
  return spawn(file, words, { stdio: [...stdio], env: { ...process.env, ...variables } });
}

const order = process.env['BENCH_SESSION'];
const forward = process.env['BENCH_FORWARD'];
if (order !== undefined) await runSession(JSON.parse(order) as SessionOrder);
else if (forward !== undefined) await runForward(JSON.parse(forward) as ForwardOrder);
else await main();
