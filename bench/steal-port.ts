// What a port costs that is stolen in other ways than by the request: filters of 1, 10 and 100 subscriptions that do not want
// it, and new connections, by each way of redirecting them and by none, beside haproxy and nginx with the same rule.
//
// node bench/run.mjs steal-port [ROUNDS] [SECONDS]; needs root, nginx and wrk. The stealer is this very process.

import type { Way as Redirection } from '../services/stealer/redirect-way.ts';
import { StealClient, startStealer } from '../test/integration/stealer-harness.ts';
import { type Sample, StealStage, type Way } from './steal-stage.ts';
import { median, printTable } from './table.ts';

const rounds = Number(process.argv[2] ?? 3);
const seconds = Number(process.argv[3] ?? 2);
const PORT = 8080;
const CONNECTIONS = 32;
const header = (value: string) => ({ $case: 'header', value }) as const;

const stage = await StealStage.open();
const own: Way = { port: PORT, pid: process.pid };

async function measured(args: readonly string[], way: Way = own): Promise<Sample> {
  const samples: Sample[] = [];
  for (let round = 0; round <= rounds; round++) {
    const sample = await stage.wrk(way, seconds, '/', args);
    // The first does not count.
    if (round > 0) samples.push(sample);
  }
  const of = (field: keyof Sample): number => median(samples.map((sample) => sample[field]));
  return { perSecond: of('perSecond'), cpuMicros: of('cpuMicros'), p50: of('p50'), p99: of('p99') };
}

/** With so many filters, of one client, on the port. */
async function withFilters(count: number, redirect: Redirection, args: readonly string[]): Promise<Sample> {
  const stealer = await startStealer(redirect);
  const client = await StealClient.open(stealer, stage.network.identity, 1);
  for (let user = 0; user < count; user++) {
    await client.steal({ port: PORT, conditions: [header(`^x-user: somebody-${user}$`)] });
  }
  try {
    return await measured(args);
  } finally {
    client.vanish();
    await stealer[Symbol.asyncDispose]();
  }
}

const row = (name: string, { perSecond, cpuMicros, p50, p99 }: Sample) => [name, perSecond, cpuMicros, p50, p99];
const COLUMNS = ['', 'requests/s', 'CPU us/request', 'p50 us', 'p99 us'];

try {
  const inner = `server { listen 0.0.0.0:${PORT}; location / { return 200 "${'a'.repeat(128)}"; } }`;
  await stage.start(0, ['nginx', '-c', stage.nginx('origin', inner)], PORT);
  const kept = [`-c${CONNECTIONS}`, '-H', 'X-User: bob'];
  const filters: Array<[string, Sample]> = [];
  for (const count of [1, 10, 100]) filters.push([`${count} filters`, await withFilters(count, 'auto', kept)]);
  printTable(
    'small requests that no filter wants',
    COLUMNS,
    filters.map(([name, sample]) => row(name, sample)),
  );
  const anew = [`-c${CONNECTIONS}`, '-H', 'X-User: bob', '-H', 'Connection: close'];
  const none = await measured(anew);
  const proxies = await stage.startProxies(PORT);
  const ways: Array<[string, Sample]> = [['nobody steals', { ...none, cpuMicros: 0 }]];
  for (const redirect of ['sk_lookup', 'nftables', 'iptables-legacy'] as const)
    ways.push([redirect, await withFilters(1, redirect, anew)]);
  for (const [name, way] of Object.entries(proxies)) ways.push([name, await measured(anew, way)]);
  printTable(
    'a new connection for each request',
    COLUMNS,
    ways.map(([name, sample]) => row(name, sample)),
  );
  for (const [name, { p50, p99 }] of ways.slice(1)) {
    console.log(`${name} adds ${(p50 - none.p50).toFixed(0)} us at p50, ${(p99 - none.p99).toFixed(0)} us at p99`);
  }
} finally {
  await stage[Symbol.asyncDispose]();
}
process.exit();
