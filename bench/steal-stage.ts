// What the benches of stealing share: a target with nginx as its server, proxies with the same header rule beside it, a session
// that steals, and the CPU of whichever process stands in between. Load and servers have core 0, what is measured core 1.

import { execFile, spawn } from 'node:child_process';
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
export const HOST = '10.99.0.1';

/** Someone in between: its port, and its process where its CPU counts. */
export type Way = Readonly<{ port: number; pid: number | null }>;
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

  static async open(): Promise<StealStage> {
    const stage = new StealStage();
    stage.network = await startNetwork();
    stage.#stops.push(() => stage.network[Symbol.asyncDispose]());
    return stage;
  }

  /** Writes a file into the stage's folder. @returns where it lies */
  file(name: string, content: string | Buffer): string {
    const at = path.join(this.folder, name);
    writeFileSync(at, content);
    return at;
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

  /** Runs a program in the target's network until something listens on the port. @returns the process that does the work */
  async start(core: number, words: readonly string[], port: number): Promise<number> {
    const pinned = ['taskset', '-c', String(core), ...words];
    const child = spawn('nsenter', ['-t', String(this.network.target.pid), '-n', ...pinned], { stdio: 'inherit' });
    this.#stops.push(async () => {
      if (child.exitCode === null) child.kill('SIGTERM');
      if (child.exitCode === null) await once(child, 'exit');
    });
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
   * @returns the stealer's process
   */
  async steal(port: number, server: string, variables: Record<string, string> = {}): Promise<number> {
    const harness = new ExecHarness();
    const incoming = { mode: 'steal', http_filter: { header_filter: '^x-user: alice$' } };
    const config = this.file('mirrord.json', JSON.stringify({ feature: { network: { incoming } } }));
    const words = ['exec', '-f', config, '-t', `pid/${this.network.target.pid}`, '--', process.execPath, '-e', server];
    const run = harness.start(words, { variables });
    this.#stops.push(async () => {
      run.child.kill('SIGTERM');
      await run.outcome;
      harness.close();
    });
    await run.complained(`stealing port ${port}`);
    const stealer = harness.process('dist/stealer.js');
    await promisify(execFile)('taskset', ['-a', '-c', '-p', '1', String(stealer)]);
    return stealer;
  }

  /** Runs a load generator beyond the target, on core 0. */
  async load(words: readonly string[]): Promise<string> {
    const where = ['-t', String(this.network.beyond.pid), '-n', 'taskset', '-c', '0'];
    return (await promisify(execFile)('nsenter', [...where, ...words], { maxBuffer: 1 << 24 })).stdout;
  }

  /** `wrk` against one way. */
  async wrk(way: Way, seconds: number, at: string, args: readonly string[]): Promise<Sample> {
    const before = way.pid === null ? 0 : cpuTicks(way.pid);
    const stdout = await this.load([
      ...['wrk', '-t1', `-d${seconds}s`, '--latency', ...args, `http://${HOST}:${way.port}${at}`],
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

  /** `h2load`, whose latencies are mean and maximum, not percentiles. */
  async h2load(way: Way, seconds: number, at: string, args: readonly string[]): Promise<Sample> {
    const before = way.pid === null ? 0 : cpuTicks(way.pid);
    const stdout = await this.load([...['h2load', '-t1', `-D${seconds}`, ...args, `http://${HOST}:${way.port}${at}`]]);
    const used = way.pid === null ? 0 : cpuTicks(way.pid) - before;
    const requests = Number(/(\d+) succeeded/.exec(stdout)?.[1] ?? 0);
    if (requests === 0 || !/ 0 failed, 0 errored/.test(stdout)) throw new Error(`the load failed:\n${stdout}`);
    const [, , most = '', mean = ''] = /time for request:\s+(\S+)\s+(\S+)\s+(\S+)/.exec(stdout) ?? [];
    const cpuMicros = ((used / TICKS_PER_SECOND) * 1e6) / requests;
    return { perSecond: requests / seconds, cpuMicros, p50: microsOf(mean), p99: microsOf(most) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops.reverse()) await stop();
    rmSync(this.folder, { recursive: true });
  }
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

/** A row for each way; requests per core-second, the inverse of CPU for a request, as part of haproxy's in the same round. */
export function rowsOf(samples: Record<string, Sample[]>): Array<Array<string | number>> {
  const of = (name: string, field: keyof Sample): number[] => (samples[name] ?? []).map((sample) => sample[field]);
  return Object.keys(samples).map((name) => {
    const cpu = median(of(name, 'cpuMicros'));
    const isMeasured = cpu > 0;
    const [ratio] = isMeasured && samples['haproxy'] ? ratios(of('haproxy', 'cpuMicros'), of(name, 'cpuMicros')) : [0];
    return [
      name,
      median(of(name, 'perSecond')),
      isMeasured ? cpu : '-',
      isMeasured ? 1e6 / cpu : '-',
      isMeasured ? ratio : '-',
      median(of(name, 'p50')),
      median(of(name, 'p99')),
    ];
  });
}
