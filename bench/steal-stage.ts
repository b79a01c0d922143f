// What the benches of stealing share: a target with nginx as its server, proxies with the same header rule beside it, a session
// that steals, and the CPU of whichever process stands in between. Load and servers have core 0, what is measured core 1.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { startNetwork, type TargetNetwork } from '../test/fixtures/network.ts';
import { descendantsOf } from '../test/fixtures/processes.ts';
import { ExecHarness } from '../test/integration/exec-harness.ts';
import { median, ratios } from './table.ts';

/** USER_HZ on every Linux of today (getconf CLK_TCK). */
const TICKS_PER_SECOND = 100;
const START_MS = 20_000;
/** What ends by a signal that it may handle, or else is killed. */
const END_MS = 15_000;
const ENDING_SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
export const HOST = '10.99.0.1';

/** Someone in between: its port, and its process where its CPU counts. */
export type Way = Readonly<{ port: number; pid: number | null; scheme?: 'https' }>;
export type Sample = Readonly<{ perSecond: number; cpuMicros: number; p50: number; p99: number }>;

export function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

/** "1.2ms" and its like. */
export function microsOf(text: string): number {
  const [, number = '0', unit = 'us'] = /([0-9.]+)(us|ms|s)/.exec(text) ?? [];
  return Number(number) * { us: 1, ms: 1_000, s: 1_000_000 }[unit as 'us' | 'ms' | 's'];
}

export class StealStage implements AsyncDisposable {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'mirrord-bench-steal-'));
  network!: TargetNetwork;
  readonly #stops: Array<() => Promise<void>> = [];
  readonly #loads = new Set<ChildProcess>();
  #ended: Promise<void> | undefined;

  static async open(): Promise<StealStage> {
    const stage = new StealStage();
    stage.#endBySignal();
    stage.network = await startNetwork();
    stage.#stops.push(() => stage.network[Symbol.asyncDispose]());
    return stage;
  }

  /** What a stage starts has process groups of its own: no Ctrl-C of a terminal reaches it, and no end of ours. */
  #endBySignal(): void {
    for (const [signal, number] of Object.entries(ENDING_SIGNALS)) {
      process.on(signal, () => {
        void this[Symbol.asyncDispose]().finally(() => process.exit(128 + number));
      });
    }
  }

  /** Called at the end, in reverse order. */
  onEnd(stop: () => Promise<void>): void {
    this.#stops.push(stop);
  }

  /** Writes a file into the stage's folder. @returns where it lies */
  file(name: string, content: string | Buffer): string {
    const at = path.join(this.folder, name);
    writeFileSync(at, content);
    return at;
  }

  /** For `h2load -i`: more than are known again. */
  paths(scheme: 'http' | 'https'): string {
    return Array.from({ length: 500 }, (_, at) => `${scheme}://${HOST}/small?order=${at}\n`).join('');
  }

  /** Words for `wrk` with which no request has the head of another one: path, cookie, id and agent are its own. */
  unalike(): readonly string[] {
    const script = `
      local nth = 0
      request = function()
        nth = nth + 1
        wrk.headers["Cookie"] = "session=" .. nth
        wrk.headers["X-Request-Id"] = "id-" .. nth
        wrk.headers["User-Agent"] = "agent/" .. nth
        return wrk.format("GET", wrk.path .. "?order=" .. nth)
      end`;
    return ['-s', this.file('unalike.lua', script)];
  }

  /** A server of nginx, `inner` within its `http` block. */
  nginx(name: string, inner: string): string {
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (kind) => `${kind}_temp_path ${this.folder}/${name}-${kind};`,
    );
    return this.file(
      `${name}.conf`,
      `daemon off; user root; worker_processes 1; pid ${this.folder}/${name}.pid; error_log stderr crit;
       events { worker_connections 4096; }
       http { access_log off; client_max_body_size 8m; client_body_buffer_size 2m; keepalive_requests 100000000;
         ${temporary.join(' ')} ${inner} }`,
    );
  }

  /** haproxy and nginx, one worker each, with the rule of `steal`'s filter, in front of a port. */
  async startProxies(origin: number): Promise<Record<'haproxy' | 'nginx', Way>> {
    const haproxy = `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 0.0.0.0:8081
  acl alice hdr_reg(x-user) -i ^alice$
  use_backend stolen if alice
  default_backend origin
backend origin
  server one 127.0.0.1:${origin}
backend stolen
  server none 127.0.0.1:1
`;
    const nginx = `
  upstream origin { server 127.0.0.1:${origin}; keepalive 64; keepalive_requests 100000000; }
  map $http_x_user $is_alice { default 0; ~*^alice$ 1; }
  server { listen 0.0.0.0:8082;
    location / { if ($is_alice) { return 599; } proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; } }`;
    const [one, other] = [
      await this.start(1, ['haproxy', '-f', this.file('haproxy.cfg', haproxy)], 8081),
      await this.start(1, ['nginx', '-c', this.nginx('proxy', nginx)], 8082),
    ];
    return { haproxy: { port: 8081, pid: one }, nginx: { port: 8082, pid: other } };
  }

  /** Runs a program in the target's network to its end. */
  async inTarget(...words: string[]): Promise<void> {
    await promisify(execFile)('nsenter', ['-t', String(this.network.target.pid), '-n', ...words]);
  }

  /** Runs a program in the target's network until something listens on the port. @returns the process that does the work */
  async start(core: number, words: readonly string[], port: number): Promise<number> {
    const pinned = ['taskset', '-c', String(core), ...words];
    const child = spawn('nsenter', ['-t', String(this.network.target.pid), '-n', ...pinned], { stdio: 'inherit' });
    this.#stops.push(() => ended(child));
    await this.#answers(port, words[0] ?? '');
    // The worker, where there is one, does the work.
    return descendantsOf(child.pid ?? 0).at(-1) ?? child.pid ?? 0;
  }

  async #answers(port: number, name: string): Promise<void> {
    const probe = `exec 3<>/dev/tcp/127.0.0.1/${port}`;
    for (const endMs = performance.now() + START_MS; ; ) {
      const words = ['-t', String(this.network.target.pid), '-n', 'bash', '-c', probe];
      const isUp = await promisify(execFile)('nsenter', words).then(
        () => true,
        () => false,
      );
      if (isUp) return;
      if (performance.now() > endMs) throw new Error(`${name} does not listen on port ${port} within ${START_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /**
   * `mirrord exec` that steals a port with the header filter "X-User: alice".
   *
   * @param server a program of Node's that listens on the port and says `serving`
   * @param more keys of feature.network.incoming
   * @returns the stealer's process
   */
  async steal(
    port: number,
    server: string,
    variables: Record<string, string> = {},
    more: object = {},
  ): Promise<number> {
    const { harness } = await this.startSession(port, server, variables, more);
    const stealer = harness.process('dist/stealer.js');
    await promisify(execFile)('taskset', ['-a', '-c', '-p', '1', String(stealer)]);
    return stealer;
  }

  /** The same with an agent that `variables` may name. `stop` may be called before the stage's own end. */
  async startSession(
    port: number,
    server: string,
    variables: Record<string, string>,
    more: object = {},
  ): Promise<Readonly<{ harness: ExecHarness; stop: () => Promise<void> }>> {
    const harness = new ExecHarness();
    const incoming = { mode: 'steal', http_filter: { header_filter: '^x-user: alice$' }, ...more };
    const config = this.file('mirrord.json', JSON.stringify({ feature: { network: { incoming } } }));
    const words = ['exec', '-f', config, '-t', `pid/${this.network.target.pid}`, '--', process.execPath, '-e', server];
    const run = harness.start(words, { variables });
    const stop = async (): Promise<void> => {
      // What does not end by itself is killed with all that it started.
      await ended(run.child).finally(() => harness.close());
    };
    this.#stops.push(stop);
    await run.complained(`stealing port ${port}`);
    return { harness, stop };
  }

  /** Runs a load generator beyond the target, on core 0. */
  async load(words: readonly string[]): Promise<string> {
    const where = ['-t', String(this.network.beyond.pid), '-n', 'taskset', '-c', '0'];
    const run = promisify(execFile)('nsenter', [...where, ...words], { maxBuffer: 1 << 24 });
    this.#loads.add(run.child);
    return await run.then(({ stdout }) => stdout).finally(() => this.#loads.delete(run.child));
  }

  /** `wrk` against one way. */
  async wrk(way: Way, seconds: number, at: string, args: readonly string[]): Promise<Sample> {
    const before = way.pid === null ? 0 : cpuTicks(way.pid);
    const stdout = await this.load([
      ...['wrk', '-t1', `-d${seconds}s`, '--latency', ...args, `${way.scheme ?? 'http'}://${HOST}:${way.port}${at}`],
    ]);
    const used = way.pid === null ? 0 : cpuTicks(way.pid) - before;
    const requests = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
    if (requests === 0 || /Non-2xx/.test(stdout)) throw new Error(`the load failed:\n${stdout}`);
    return {
      perSecond: requests / seconds,
      cpuMicros: ((used / TICKS_PER_SECOND) * 1e6) / requests,
      p50: microsOf(/50%\s+(\S+)/.exec(stdout)?.[1] ?? ''),
      p99: microsOf(/99%\s+(\S+)/.exec(stdout)?.[1] ?? ''),
    };
  }

  /** As `h2load`, each request unlike the others. */
  async varied(way: Way, seconds: number, at: string, [kind, ...sizes]: readonly string[]): Promise<Sample> {
    const program = path.join(import.meta.dirname, 'varied-requests.mjs');
    const words = [process.execPath, program, kind ?? 'web', String(seconds), ...sizes];
    return await this.#loaded(way, seconds, [...words, `http://${HOST}:${way.port}${at}`]);
  }

  /** `h2load`, whose latencies are mean and maximum, not percentiles. */
  async h2load(way: Way, seconds: number, at: string, args: readonly string[]): Promise<Sample> {
    const base = `${way.scheme ?? 'http'}://${HOST}:${way.port}`;
    // The base also of what `args` has from a file.
    return await this.#loaded(way, seconds, ['h2load', '-t1', `-D${seconds}`, ...args, '-B', base, `${base}${at}`]);
  }

  async #loaded(way: Way, seconds: number, words: readonly string[]): Promise<Sample> {
    const before = way.pid === null ? 0 : cpuTicks(way.pid);
    const stdout = await this.load(words);
    const used = way.pid === null ? 0 : cpuTicks(way.pid) - before;
    const requests = Number(/(\d+) succeeded/.exec(stdout)?.[1] ?? 0);
    if (requests === 0 || !/ 0 failed, 0 errored/.test(stdout)) throw new Error(`the load failed:\n${stdout}`);
    const [, , most = '', mean = ''] = /time for request:\s+(\S+)\s+(\S+)\s+(\S+)/.exec(stdout) ?? [];
    const cpuMicros = ((used / TICKS_PER_SECOND) * 1e6) / requests;
    return { perSecond: requests / seconds, cpuMicros, p50: microsOf(mean), p99: microsOf(most) };
  }

  /** Ends everything that was begun, whatever of it fails to. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    await this.#ended;
  }

  async #end(): Promise<void> {
    const failures: unknown[] = [];
    for (const load of this.#loads) load.kill('SIGKILL');
    for (const stop of this.#stops.reverse()) await stop().catch((failure) => failures.push(failure));
    rmSync(this.folder, { recursive: true, force: true });
    if (failures.length > 0) throw new AggregateError(failures, 'not everything of the bench has ended');
  }
}

/** Asks a child to end, and kills it when it does not. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
  await exit;
  clearTimeout(timer);
}

/** Rounds in which all ways take turns, after one that does not count. */
export async function inTurns(
  rounds: number,
  ways: Record<string, Way>,
  measure: (way: Way) => Promise<Sample>,
): Promise<Record<string, Sample[]>> {
  const samples: Record<string, Sample[]> = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, way] of Object.entries(ways)) {
      const sample = await measure(way);
      if (round > 0) samples[name]?.push(sample);
    }
  }
  return samples;
}

export const COLUMNS = ['', 'requests/s', 'CPU us/request', 'requests/core-s', 'of haproxy', 'p50 us', 'p99 us'];

/** A row for each way; requests per core-second, the inverse of CPU for a request, as part of haproxy's in the same round: median, least and most. */
export function rowsOf(samples: Record<string, Sample[]>): Array<Array<string | number>> {
  const of = (name: string, field: keyof Sample): number[] => (samples[name] ?? []).map((sample) => sample[field]);
  return Object.keys(samples).map((name) => {
    const cpu = median(of(name, 'cpuMicros'));
    const isMeasured = cpu > 0;
    const [ratio, least, most] = samples['haproxy']
      ? ratios(of('haproxy', 'cpuMicros'), of(name, 'cpuMicros'))
      : [0, 0, 0];
    const interval = `${ratio.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`;
    return [
      name,
      median(of(name, 'perSecond')),
      isMeasured ? cpu : '-',
      isMeasured ? 1e6 / cpu : '-',
      isMeasured && samples['haproxy'] ? interval : '-',
      median(of(name, 'p50')),
      median(of(name, 'p99')),
    ];
  });
}
