// What a port costs that is stolen in other ways than by the request: filters of 1, 10 and 100 subscriptions that do not want
// it, and new connections, by each way of redirecting them and by none, beside haproxy and nginx with the same rule. CPU and
// rates at full load, in turns; what is added to a request far below it, as differences of pairs (paired-client.mjs).
//
// node bench/run.mjs steal-port [ROUNDS] [SECONDS] [filters|kinds|heads|new|added] [ROW,...]; needs root, nginx, haproxy and wrk. The
// stealer is this very process. A row is a part of its name; who is compared with runs always.

import { execFileSync } from 'node:child_process';
import path from 'node:path';
import type { Way as Redirection } from '../services/runtime/redirect-ways.ts';
import { StealClient, startStealer } from '../test/integration/stealer-harness.ts';
import { HOST, rowsOf, type Sample, StealStage, type Way } from './steal-stage.ts';
import { median, printTable } from './table.ts';

const rounds = Number(process.argv[2] ?? 3);
const seconds = Number(process.argv[3] ?? 2);
const part = process.argv[4] ?? '';
const wanted = (process.argv[5] ?? '').split(',');
const PORT = 8080;
/** The same server, of which nobody steals. */
const ORIGIN = 8084;
/** haproxy's own port by another number. */
const BEHIND = 8085;
const CONNECTIONS = 32;
const PAIRS_PER_SECOND = 100;
type Condition = NonNullable<Parameters<StealClient['steal']>[0]['conditions']>;
const header = (value: string) => ({ $case: 'header', value }) as const;
const isAlice = { query: '$.user', matches: '^alice$', maxBytes: 0, waitMs: 0 };
/** Filters for each of which a request without a body or a query is another thing. */
const KINDS: Record<string, Condition> = {
  'header with a text': [header('^x-user: somebody$')],
  'header without': [header('^x-.*: [a-e]{9}$')],
  'JSON body': [{ $case: 'jsonBody', value: isAlice }],
  'jq of the query': [{ $case: 'queryJq', value: '.user == "alice"' }],
  'jq of the query, no text': [{ $case: 'queryJq', value: '.user | type == "string" and length > 5' }],
  'jq of headers': [{ $case: 'headerJq', value: 'startswith("x-user: alice")' }],
  'jq of headers, no text': [{ $case: 'headerJq', value: 'split(": ") | .[0] == "x-user" and .[1] == "alice"' }],
};

const stage = await StealStage.open();
const own: Way = { port: PORT, pid: process.pid };

const named = (count: number): Condition[] =>
  Array.from({ length: count }, (_, nth) => [header(`^x-user: no-${nth}$`)]);

/** Acts while these filters, of one client, are on the port. */
async function withFilters<T>(all: readonly Condition[], redirect: Redirection, act: () => Promise<T>): Promise<T> {
  const stealer = await startStealer(redirect);
  const client = await StealClient.open(stealer, stage.network.identity, 1);
  for (const conditions of all) await client.steal({ port: PORT, conditions });
  try {
    return await act();
  } finally {
    client.vanish();
    await stealer[Symbol.asyncDispose]();
  }
}

/** Rounds in which all take turns, the wanted and the first, after one that does not count. */
async function inTurns(all: Record<string, () => Promise<Sample>>): Promise<Record<string, Sample[]>> {
  const isIn = ([name]: readonly [string, unknown], nth: number) =>
    nth === 0 || name === 'haproxy' || wanted.some((one) => name.includes(one));
  const each = Object.fromEntries(Object.entries(all).filter(isIn));
  const samples: Record<string, Sample[]> = Object.fromEntries(Object.keys(each).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, measure] of Object.entries(each)) {
      const sample = await measure();
      if (round > 0) samples[name]?.push(sample);
    }
  }
  return samples;
}

/** Microseconds of requests to ORIGIN and, in turns with them, to another port. */
async function pairs(port: number, kind: 'new' | 'kept'): Promise<Array<[number, number]>> {
  const client = path.join(import.meta.dirname, 'paired-client.mjs');
  const count = Math.ceil(rounds * seconds * PAIRS_PER_SECOND);
  const words = [HOST, ORIGIN, port, count, PAIRS_PER_SECOND, kind].map(String);
  return JSON.parse(await stage.load([process.execPath, client, ...words])) as Array<[number, number]>;
}

function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}

/** What the second of each pair took more: the median difference, its least and most in ten blocks, and that of the p99. */
function added(name: string, all: ReadonlyArray<readonly [number, number]>): Array<string | number> {
  const [direct, through] = [all.map(([one]) => one), all.map(([, other]) => other)];
  const differences = through.map((micros, at) => micros - (direct[at] as number));
  const size = Math.ceil(differences.length / 10);
  const blocks = Array.from({ length: 10 }, (_, at) => differences.slice(at * size, (at + 1) * size));
  const medians = blocks.filter(({ length }) => length > 0).map(median);
  return [
    ...[name, median(direct), median(differences), Math.min(...medians), Math.max(...medians)],
    quantile(through, 0.99) - quantile(direct, 0.99),
  ];
}

const COLUMNS = ['', 'requests/s', 'CPU us/request', 'requests/core-s', 'of haproxy', 'p50 us', 'p99 us'];
const ADDED = ['', 'direct p50 us', 'added at p50', 'least of ten', 'most of ten', 'added at p99'];

try {
  // The load has core 0.
  execFileSync('taskset', ['-a', '-c', '-p', '1', String(process.pid)], { stdio: 'ignore' });
  const listens = [PORT, ORIGIN].map((port) => `listen 0.0.0.0:${port};`).join(' ');
  const inner = `server { ${listens} location / { return 200 "${'a'.repeat(128)}"; } }`;
  await stage.start(0, ['nginx', '-c', stage.nginx('origin', inner)], PORT);
  const proxies = await stage.startProxies(ORIGIN);
  const load = (way: Way, ...args: string[]) => stage.wrk(way, seconds, '/', [...args, '-H', 'X-User: bob']);
  const kept = `-c${CONNECTIONS}`;
  const filters = [1, 10, 100].map((count): [string, () => Promise<Sample>] => [
    `${count} filters`,
    () => withFilters(named(count), 'auto', () => load(own, kept)),
  ]);
  const title = `small requests that no filter wants, ${CONNECTIONS} connections, ${rounds} rounds of ${seconds} s`;
  const others = { haproxy: () => load(proxies.haproxy, kept), nginx: () => load(proxies.nginx, kept) };
  if ('filters'.includes(part)) {
    printTable(title, COLUMNS, rowsOf(await inTurns({ ...others, ...Object.fromEntries(filters) })));
  }

  const kinds = Object.entries(KINDS).map(([name, conditions]): [string, () => Promise<Sample>] => [
    name,
    () => withFilters([conditions], 'auto', () => load(own, kept)),
  ]);
  if ('kinds'.includes(part)) {
    const ofKinds = await inTurns({ haproxy: others.haproxy, ...Object.fromEntries(kinds) });
    printTable('the same, GET, by the kind of one filter', COLUMNS, rowsOf(ofKinds));
  }

  if ('heads'.includes(part)) {
    const unalike = stage.unalike();
    const ofHeads = Object.entries(KINDS).map(([name, conditions]): [string, () => Promise<Sample>] => [
      name,
      () => withFilters([conditions], 'auto', () => load(own, kept, ...unalike)),
    ]);
    const ofUnalike = await inTurns({
      haproxy: () => load(proxies.haproxy, kept, ...unalike),
      ...Object.fromEntries(ofHeads),
    });
    printTable('the same, each with a head of its own', COLUMNS, rowsOf(ofUnalike));
  }

  // Whoever comes by a translation pays for it in the kernel: haproxy by the same one.
  const nat = (table: string) => [
    'nft',
    `add table ip ${table}; add chain ip ${table} arriving { type nat hook prerouting priority -100; }`,
  ];
  const behind = (begin: string[][], end: string[]) => async () => {
    for (const words of begin) await stage.inTarget(...words);
    return await load({ ...proxies.haproxy, port: BEHIND }, ...anew).finally(() => stage.inTarget(...end));
  };
  const rule = [
    'PREROUTING',
    '-p',
    'tcp',
    '--dport',
    `${BEHIND}`,
    '-j',
    'REDIRECT',
    '--to-ports',
    `${proxies.haproxy.port}`,
  ];
  const nftRule = `add rule ip bench arriving tcp dport ${BEHIND} redirect to :${proxies.haproxy.port}`;
  const translated = {
    'haproxy, nftables': behind([nat('bench'), ['nft', nftRule]], ['nft', 'delete table ip bench']),
    'haproxy, iptables-legacy': behind(
      [['iptables-legacy', '-t', 'nat', '-A', ...rule]],
      ['iptables-legacy', '-t', 'nat', '-D', ...rule],
    ),
  };
  const anew = [kept, '-H', 'Connection: close'];
  const REDIRECTIONS = ['sk_lookup', 'nftables', 'iptables-legacy'] as const;
  const stolen = REDIRECTIONS.map((redirect): [string, () => Promise<Sample>] => [
    redirect,
    () => withFilters(named(1), redirect, () => load(own, ...anew)),
  ]);
  if ('new'.includes(part)) {
    const samples = await inTurns({
      'nobody steals': () => load({ port: ORIGIN, pid: null }, ...anew),
      haproxy: () => load(proxies.haproxy, ...anew),
      nginx: () => load(proxies.nginx, ...anew),
      ...translated,
      ...Object.fromEntries(stolen),
    });
    printTable(`a new connection for each request, ${CONNECTIONS} at once`, COLUMNS, rowsOf(samples));
  }

  for (const kind of ['kept', 'new'] as const) {
    if (!'added'.includes(part)) continue;
    // The same port twice: what is left of it is the error of what follows.
    const rows = [added('nobody steals', await pairs(PORT, kind))];
    for (const redirect of REDIRECTIONS) {
      rows.push(added(redirect, await withFilters(named(1), redirect, () => pairs(PORT, kind))));
    }
    for (const [name, { port }] of Object.entries(proxies)) rows.push(added(name, await pairs(port, kind)));
    const rate = `${2 * PAIRS_PER_SECOND} requests a second`;
    const what = kind === 'kept' ? 'on a kept connection' : 'each on a new connection';
    printTable(`added to a request ${what}, ${rate}, in pairs with the server itself; us`, ADDED, rows);
  }
} finally {
  await stage[Symbol.asyncDispose]();
}
process.exit();
