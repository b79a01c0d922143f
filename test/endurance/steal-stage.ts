// A target with a web server on port 8080, somebody beyond its network who asks, and runs of `mirrord exec` that steal from it,
// each with an agent of its own. One stage for each test file; `leave` after each test.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { expect, onTestFailed } from 'vitest';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { descendantsOf } from '../fixtures/processes.ts';
import { ExecHarness, type Run } from '../integration/exec-harness.ts';

export const PORT = 8080;
const URL = `http://10.99.0.1:${PORT}`;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

/** Of each agent's log. */
const LOG_BYTES = 16 * 1024;

export type Report = Readonly<{
  asked: number;
  answers: Readonly<Record<string, number>>;
  failures: ReadonlyArray<Readonly<{ began: number; ended: number; error: string }>>;
}>;

export type MixedRequest = [
  path: string,
  user: string,
  bytes: number,
  began: number,
  ended: number,
  answer: string | null,
];

const SERVER = `require('http').createServer((req, res) => {
  console.log('got ' + req.url);
  res.end('local ' + process.argv[1] + '\\n');
}).listen(${PORT}, () => console.log('serving'));
process.on('SIGTERM', () => process.exit(0));`;

/** In which the target is whole again. */
export const WHOLE_AGAIN_MS = 1_000;

export const stealing = (user: string, more: object = {}) => ({
  mode: 'steal',
  http_filter: { header_filter: `^x-user: ${user}$` },
  ...more,
});

/** Patterns of command lines. */
export const PROCESSES = {
  stealer: /^\S*node \S*stealer\.js $/,
  agent: /^\S*node \S*agent\.js $/,
  client: /^\S*node \S*bin\/mirrord exec/,
  nats: /^\S*nats-server /,
  local: /^\S*node -e require/,
} as const;

export class StealStage {
  readonly network: TargetNetwork;
  #harness = new ExecHarness();
  #runs: Run[] = [];
  #loads: Load[] = [];
  #logs: string[] = [];

  private constructor(network: TargetNetwork) {
    this.network = network;
  }

  static async open(): Promise<StealStage> {
    const network = await startNetwork();
    await network.serve(network.target, [process.execPath, fixture('web-server.mjs'), `:::${PORT}`]);
    return new StealStage(network);
  }

  async close(): Promise<void> {
    await this.network[Symbol.asyncDispose]();
  }

  /** Nothing is left of any run, and the target answers. */
  async leave(): Promise<void> {
    this.#noteLogs();
    for (const load of this.#loads) await load.end();
    for (const { child } of this.#runs) if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    [this.#runs, this.#loads, this.#logs] = [[], [], []];
    await this.#harness.leavesNothing();
    this.#harness.close();
    this.#harness = new ExecHarness();
    await expect.poll(() => this.ask('/after'), { timeout: 20_000 }).toContain('hello');
  }

  /** Of agents that are there: when a test has failed, that is what there is to be read. */
  #noteLogs(): void {
    const { folder } = this.#harness;
    for (const name of readdirSync(folder)) {
      const log = path.join(folder, name, 'agent.log');
      if (existsSync(log)) this.#logs.push(`${name}: ${readFileSync(log, 'utf8').slice(-LOG_BYTES)}`);
    }
  }

  /** Not waited for: what becomes of it is the test's. */
  begin(name: string, incoming: object): Run {
    const file = path.join(this.#harness.folder, `${name}.json`);
    writeFileSync(file, JSON.stringify({ feature: { network: { incoming } } }));
    const target = `pid/${this.network.target.pid}`;
    const run = this.#harness.start(['exec', '-f', file, '-t', target, '--', process.execPath, '-e', SERVER, name]);
    this.#runs.push(run);
    if (this.#runs.length === 1) {
      const [runs, logs] = [this.#runs, this.#logs];
      onTestFailed(() => {
        for (const one of runs) console.error(`run ${one.pid}, on stderr: ${one.stderr()}`);
        for (const log of logs) console.error(log);
      });
    }
    return run;
  }

  async start(name: string, incoming: object): Promise<Run> {
    const run = this.begin(name, incoming);
    await run.said('serving');
    await run.complained(`ing port ${PORT}`);
    return run;
  }

  /** By curl, from beyond the target's network. */
  async ask(at: string, ...args: string[]): Promise<string> {
    const words = ['curl', '-sS', '--max-time', '20', ...args, `${URL}${at}`];
    return (await promisify(execFile)('nsenter', ['-t', String(this.network.beyond.pid), '-n', ...words])).stdout;
  }

  as(user: string, at = '/'): Promise<string> {
    return this.ask(at, '-H', `x-user: ${user}`);
  }

  /** Asks without a pause, each request on a connection of its own. @param field `x-user=alice` */
  load(workers: number, ...field: string[]): Load {
    return this.#begun(new Load(this.network.beyond.pid, 'load-client.mjs', [`${URL}/load`, `${workers}`, ...field]));
  }

  /** On connections that are kept, with bodies: mixed-load.mjs. */
  mixedLoad(workers: number): Load {
    return this.#begun(new Load(this.network.beyond.pid, 'mixed-load.mjs', [URL, `${workers}`]));
  }

  #begun(load: Load): Load {
    this.#loads.push(load);
    return load;
  }
}

export class Load {
  readonly #child;
  readonly #lines: string[] = [];
  readonly #exited: Promise<unknown>;
  #asked = 0;
  #since = 0;

  constructor(pid: number, name: string, args: readonly string[]) {
    const words = [process.execPath, fixture(name), ...args];
    this.#child = spawn('nsenter', ['-t', String(pid), '-n', ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#exited = once(this.#child, 'close');
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const [word, asked, since] = line.split(' ');
      if (word === 'asked') [this.#asked, this.#since] = [Number(asked), Number(since)];
      else this.#lines.push(line);
    });
  }

  /** So many answers more. */
  async goesOn(answers: number): Promise<void> {
    const until = this.#asked + answers;
    await expect.poll(() => this.#asked, { timeout: 60_000 }).toBeGreaterThan(until);
  }

  /** An answer to what began after that moment. */
  async goesBeyond(ms: number): Promise<void> {
    await expect.poll(() => this.#since, { timeout: 60_000 }).toBeGreaterThan(ms);
  }

  async end(): Promise<Report> {
    return JSON.parse(await this.#last()) as Report;
  }

  async endRequests(): Promise<MixedRequest[]> {
    return JSON.parse(await this.#last()) as MixedRequest[];
  }

  async #last(): Promise<string> {
    this.#child.stdin.end();
    await this.#exited;
    return this.#lines.at(-1) ?? '{}';
  }
}

export function processesOf(run: Run, pattern: RegExp): number[] {
  return [run.pid, ...descendantsOf(run.pid)].filter((pid) => pattern.test(commandOf(pid)));
}

export function processOf(run: Run, pattern: RegExp): number {
  const found = processesOf(run, pattern);
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

/** Everything that failed was on its way when something was killed, and ended within the second. */
export function expectWholeAgain(
  { answers, failures }: Report,
  kills: readonly number[],
  mayFail: number,
  what = '',
): void {
  const told = JSON.stringify({ what, kills, failures });
  expect(Object.keys(answers), told).toEqual(['200 hello']);
  let blamed = 0;
  for (const killed of kills) {
    const until = killed + WHOLE_AGAIN_MS;
    const own = failures.filter(({ began, ended }) => began < until && ended >= killed && ended < until);
    expect(own.length, told).toBeLessThanOrEqual(mayFail);
    blamed += own.length;
  }
  expect(failures, told).toHaveLength(blamed);
}
