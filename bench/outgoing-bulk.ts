// Connections through the whole of mirrord against the same straight, through `ssh -L`, through two socats, and against the
// tuned session stream that carries nothing else ("session") or what plain sockets bring and take ("sockets"): bulk down and up, one question at a time, a question beside bulk, connects
// and lookups. Over a distance every way has the same delaying relay in it. The ways take turns.

import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Whole } from '../test/fixtures/whole.ts';
import { startDelayRelay } from './delay-relay.ts';
import { type ForwardOrder, runForward } from './outgoing-forward.ts';
import { runSession, type SessionOrder } from './outgoing-session.ts';
import { Ways } from './outgoing-ways.ts';
import { median, printTable, ratios } from './table.ts';

const ROUNDS = Number(process.argv[2] ?? 3);
const ROUND_TRIPS_MS = process.argv[3] === undefined ? [0, 20, 100] : [Number(process.argv[3])];
const NAMES = ['session', 'sockets', 'mirrord', 'ssh', 'socat', 'direct'] as const;
type Name = (typeof NAMES)[number];

/** The first warms up; each is asked for the first time once. */
const NAMES_ASKED = Array.from({ length: 9 }, (_, at) => `db${at}.shop.test`);

/** What was printed, by what was asked. */
type Ask = (...words: string[]) => Promise<number[]>;
type Results = Record<Name, number[]>;

async function main(): Promise<void> {
  const ways = new Ways();
  const program = path.join(ways.folder, 'outgoing');
  execFileSync('cc', ['-O2', '-pthread', '-o', program, path.join(import.meta.dirname, 'src/outgoing.c')]);
  const whole = await Whole.start({
    variables: {},
    listen: '127.0.0.1:0',
    files: { '/etc/resolv.conf': 'nameserver 127.0.0.1\n', '/etc/hosts': '127.0.0.1 localhost\n' },
  });
  try {
    const inTarget = ['nsenter', '-t', String(whole.target.pid), '-n'];
    const names = path.join(import.meta.dirname, '../test/fixtures/name-server.mjs');
    const targetPort = await ways.serve([...inTarget, program, 'serve', '0']);
    const records = NAMES_ASKED.flatMap((name) => [`${name}/A=10.1.2.3`, `${name}/AAAA=fd00::1`]);
    await ways.say([...inTarget, process.execPath, names, '127.0.0.1', ...records]);
    const port = await ways.serve([program, 'serve', '0']);
    for (const roundTripMs of ROUND_TRIPS_MS) await compare({ ways, whole, program, port, targetPort }, roundTripMs);
  } finally {
    await whole.close();
    await ways.close();
  }
}

interface Bench {
  readonly ways: Ways;
  readonly whole: Whole;
  readonly program: string;
  /** Of the peer on this machine, and of the one in the target. */
  readonly port: number;
  readonly targetPort: number;
}

async function compare({ ways, whole, program, port, targetPort }: Bench, roundTripMs: number): Promise<void> {
  const relay = await startDelayRelay(whole.address, roundTripMs);
  const session = await startSession(roundTripMs);
  const forward = await startForward(port, roundTripMs);
  try {
    await compareFrom({ ways, whole, program, port, targetPort }, roundTripMs, relay.address, session, forward.port);
  } finally {
    session.close();
    forward.close();
    await relay.close();
  }
}

async function compareFrom(
  { ways, whole, program, port, targetPort }: Bench,
  roundTripMs: number,
  address: string,
  session: SessionBench,
  forwardPort: number,
): Promise<void> {
  const ports = await ways.start(port, roundTripMs);
  const here =
    (at: number): Ask =>
    (what, ...words) =>
      ways.ask([program, what ?? '', '127.0.0.1', String(at), ...words]);
  const inMirrord: Ask = async (...words) => {
    const variables = roundTripMs === 0 ? {} : { MIRRORD_AGENT_ADDRESS: address };
    const { code, stdout, stderr } = await whole.exec([program, ...words], { variables, deadlineMs: 300_000 });
    if (code !== 0) throw new Error(`${words[0]} ended with ${code}: ${stdout}${stderr}`);
    return stdout.trim().split(' ').map(Number);
  };
  const throughMirrord: Ask = (what, ...words) => inMirrord(what ?? '', '127.0.0.1', String(targetPort), ...words);
  const asks = {
    sockets: here(forwardPort),
    mirrord: throughMirrord,
    ssh: here(ports.ssh),
    socat: here(ports.socat),
    direct: here(ports.direct),
  };
  const mib = roundTripMs === 0 ? 512 : roundTripMs <= 20 ? 128 : 48;
  for (const what of ['down', 'up'] as const) {
    const results = await takeTurns(NAMES, (name) =>
      name === 'session' ? session.carry(what, mib).then((ms) => [ms]) : asks[name](what, String(mib)),
    );
    print(`bulk ${what}, ${mib} MiB, ${roundTripMs} ms`, 'MiB/s', results, (ms) => (mib / ms) * 1000);
  }
  const others = NAMES.filter((name) => name !== 'session');
  const asked = roundTripMs === 0 ? 3_000 : Math.ceil(2_000 / roundTripMs);
  const questions = await takeTurns(others, (name) => asks[name as Exclude<Name, 'session'>]('ask', String(asked)));
  print(`one question at a time, ${roundTripMs} ms`, 'a second', questions, (ms) => (asked / ms) * 1000);
  const beside = await takeTurns(others, (name) => asks[name as Exclude<Name, 'session'>]('beside', '60'));
  print(`a question beside bulk down, ${roundTripMs} ms`, 'ms, p50', beside, (ms) => ms);
  if (roundTripMs === 0) return;
  await printRoundTrips(roundTripMs, throughMirrord, inMirrord);
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
  const results: Results = { session: [], sockets: [], mirrord: [], ssh: [], socat: [], direct: [] };
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
  carry(role: 'down' | 'up', mib: number): Promise<number>;
  close(): void;
}

async function startSession(roundTripMs: number): Promise<SessionBench> {
  const start = (order: SessionOrder) =>
    fork(fileURLToPath(import.meta.url), { env: { ...process.env, BENCH_SESSION: JSON.stringify(order) } });
  const server = start({ role: 'server' });
  const [address] = (await once(server, 'message')) as [string];
  const relay = await startDelayRelay(address, roundTripMs);
  return {
    carry: async (role, mib) => {
      const client = start({ role, address: roundTripMs === 0 ? address : relay.address, mib });
      const [ms] = (await once(client, 'message')) as [number];
      client.kill('SIGKILL');
      return ms;
    },
    close: () => {
      server.kill('SIGKILL');
      void relay.close();
    },
  };
}

/** Two processes that forward to `port`, and the distance between them. */
async function startForward(port: number, roundTripMs: number): Promise<{ port: number; close(): void }> {
  const start = async <T>(order: ForwardOrder): Promise<[ChildProcess, T]> => {
    const child = fork(fileURLToPath(import.meta.url), {
      env: { ...process.env, BENCH_FORWARD: JSON.stringify(order) },
    });
    return [child, ((await once(child, 'message')) as [T])[0]];
  };
  const [far, address] = await start<string>({ role: 'far', port });
  const relay = await startDelayRelay(address, roundTripMs);
  const [near, at] = await start<number>({ role: 'near', address: roundTripMs === 0 ? address : relay.address });
  return {
    port: at,
    close: () => {
      for (const child of [near, far]) child.kill('SIGKILL');
      void relay.close();
    },
  };
}

const order = process.env['BENCH_SESSION'];
const forward = process.env['BENCH_FORWARD'];
if (order !== undefined) await runSession(JSON.parse(order) as SessionOrder);
else if (forward !== undefined) await runForward(JSON.parse(forward) as ForwardOrder);
else await main();
