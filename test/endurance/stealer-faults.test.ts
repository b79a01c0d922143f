// Parts of a filtered steal are killed while the target's peers ask without a pause: nothing of the target's fails but what was on
// its way through the killed process, and after a second everything answers. And three sessions at once on one port.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { descendantsOf } from '../fixtures/processes.ts';
import { ExecHarness, type Run } from '../integration/exec-harness.ts';

const PORT = 8080;
const URL = `http://10.99.0.1:${PORT}`;
const WORKERS = 8;
/** In which the target is whole again. */
const WHOLE_AGAIN_MS = 1_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

type Report = Readonly<{
  asked: number;
  answers: Readonly<Record<string, number>>;
  failures: ReadonlyArray<Readonly<{ began: number; ended: number; error: string }>>;
}>;

let network: TargetNetwork;
let harness: ExecHarness;
let runs: Run[] = [];
let loads: Load[] = [];

beforeAll(async () => {
  network = await startNetwork();
  await network.serve(network.target, [process.execPath, fixture('web-server.mjs'), `:::${PORT}`]);
});
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  [runs, loads] = [[], []];
  harness = new ExecHarness();
});
afterEach(async () => {
  for (const load of loads) await load.end();
  for (const { child } of runs) if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  await harness.leavesNothing();
  harness.close();
  await expect.poll(() => curl('/after'), { timeout: 20_000 }).toContain('hello');
});

const SERVER = `require('http').createServer((req, res) => {
  console.log('got ' + req.url);
  res.end('local ' + process.argv[1] + '\\n');
}).listen(${PORT}, () => console.log('serving'));
process.on('SIGTERM', () => process.exit(0));`;

async function start(name: string, incoming: object): Promise<Run> {
  const file = path.join(harness.folder, `${name}.json`);
  writeFileSync(file, JSON.stringify({ feature: { network: { incoming } } }));
  const words = ['exec', '-f', file, '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', SERVER, name];
  const run = harness.start(words);
  runs.push(run);
  await run.said('serving');
  await run.complained(`ing port ${PORT}`);
  return run;
}

const stealing = (user: string) => ({ mode: 'steal', http_filter: { header_filter: `^x-user: ${user}$` } });

async function curl(at: string, ...args: string[]): Promise<string> {
  const words = ['-t', String(network.beyond.pid), '-n', 'curl', '-sS', '--max-time', '20', ...args, `${URL}${at}`];
  return (await promisify(execFile)('nsenter', words)).stdout;
}

class Load {
  readonly #child;
  readonly #lines: string[] = [];
  readonly #exited: Promise<unknown>;
  #asked = 0;

  constructor(...more: string[]) {
    const words = [process.execPath, fixture('load-client.mjs'), `${URL}/load`, `${WORKERS}`, ...more];
    this.#child = spawn('nsenter', ['-t', String(network.beyond.pid), '-n', ...words], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#exited = once(this.#child, 'close');
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (line.startsWith('asked ')) this.#asked = Number(line.slice(6));
      else this.#lines.push(line);
    });
    loads.push(this);
  }

  /** So many answers more. */
  async goesOn(answers: number): Promise<void> {
    const until = this.#asked + answers;
    await expect.poll(() => this.#asked, { timeout: 60_000 }).toBeGreaterThan(until);
  }

  async end(): Promise<Report> {
    this.#child.stdin.end();
    await this.#exited;
    return JSON.parse(this.#lines.at(-1) ?? '{}') as Report;
  }
}

function processOf(run: Run, pattern: RegExp): number {
  const found = [run.pid, ...descendantsOf(run.pid)].filter((pid) => pattern.test(commandOf(pid)));
  expect(found).toHaveLength(1);
  return found[0] as number;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

test.each([
  ['the stealer', /^\S*node \S*stealer\.js $/],
  ['the agent', /^\S*node \S*agent\.js $/],
  ['the client', /^\S*node \S*bin\/mirrord exec/],
  ['nats-server', /^\S*nats-server /],
  ['the local process', /^\S*node -e require/],
])(
  '%s is killed under load: what fails was on its way through it, and within a second nothing does',
  async (who, pattern) => {
    const run = await start('alice', stealing('alice'));
    expect(await curl('/a', '-H', 'x-user: alice')).toContain('local alice');
    const load = new Load();
    await load.goesOn(400);
    const local = descendantsOf(run.pid).filter((pid) => /^\S*node -e require/.test(commandOf(pid)));
    const killed = Date.now();
    process.kill(processOf(run, pattern), 'SIGKILL');
    await expect.poll(() => Date.now() - killed, { timeout: 10_000 }).toBeGreaterThan(WHOLE_AGAIN_MS);
    await load.goesOn(400);
    const { answers, failures } = await load.end();
    // Each worker had one request on its way, and may have met the dying listener with the next.
    const mayFail = who === 'nats-server' || who === 'the local process' ? 0 : 2 * WORKERS;
    expect(failures.length, JSON.stringify(failures)).toBeLessThanOrEqual(mayFail);
    for (const { began, ended } of failures) {
      expect(began).toBeLessThan(killed + WHOLE_AGAIN_MS);
      expect(ended).toBeLessThan(killed + WHOLE_AGAIN_MS);
    }
    expect(Object.keys(answers)).toEqual(['200 hello']);
    if (who === 'the client') for (const pid of local) process.kill(pid, 'SIGKILL');
    if (who !== 'the client') run.child.kill('SIGTERM');
    await run.outcome;
  },
  180_000,
);

test('two steal and one mirrors: each request has one answer, and its one copy', async () => {
  const [alice, bob] = [await start('alice', stealing('alice')), await start('bob', stealing('bob'))];
  const carol = await start('carol', { mode: 'mirror' });
  for (let nth = 0; nth < 20; nth++) {
    const [user, answer] = [
      ['alice', 'local alice'],
      ['bob', 'local bob'],
      ['dave', 'hello'],
    ][nth % 3] as [string, string];
    expect(await curl(`/${nth}`, '-H', `x-user: ${user}`)).toContain(answer);
  }
  const copies = () => [...carol.stdout().matchAll(/got \/(\d+)/g)].map(([, nth]) => Number(nth));
  await expect.poll(copies, { timeout: 20_000 }).toContain(19);
  // What passes through to the target is copied on its way in, and not once more on its way to the target.
  expect(copies().sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, nth) => nth));
  for (const run of [alice, bob, carol]) {
    run.child.kill('SIGTERM');
    await run.outcome;
  }
}, 180_000);
