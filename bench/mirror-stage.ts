// Of the benches of the mirror: nginx as the target, in a network namespace with a second one beyond it, and everybody who
// can copy what arrives at it. Load and target share core 0; who copies has core 1, with the session that takes the copy.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { type HttpFilter, LossReason } from '../proto/gen/v1/incoming.ts';
import { startNetwork, type TargetNetwork } from '../test/fixtures/network.ts';
import { Mirror } from '../test/integration/sniffer-harness.ts';
import { startSnifferProcess } from '../test/integration/sniffer-process.ts';

/** The target, from beyond. */
export const HOST = '10.99.0.1';
export const CONNECTIONS = 32;
/** So many that one in a hundred is some. */
export const MANY_CONNECTIONS = 400;
export const PER_MILLION = 10_000;
const byPath = (value: string): HttpFilter => ({ conditions: [{ condition: { $case: 'path', value } }], isAny: false });
export const WANTED = byPath('^/wanted');
/** The same requests here; but it may be anywhere in a path, so that the kernel cannot tell. */
export const WANTED_ANYWHERE = byPath('/wanted');
export const PORT = 8080;
const STATUS_PORT = 8090;
/** USER_HZ on every Linux of today (getconf CLK_TCK). */
const TICK_MS = 10;
const LARGE_RING_BYTES = 1 << 29;
const NANOSECONDS_PER_MS = 1e6;

/** What has become of what was copied. */
export interface Copied {
  /** Reason by reason; 'none' when there is nothing. */
  readonly lost: string;
  readonly isWhole: boolean;
  /** Payload that arrived and that was told to be lost; null where nobody tells. */
  readonly bytes: number | null;
}

/** Copies while the load runs. */
export interface Copying {
  cpuMs(): number;
  /** `expectedBytes`: what was sent, for who does not say what is missing. */
  stop(expectedBytes: number): Promise<Copied>;
}

export interface MirrorOptions {
  readonly filter?: HttpFilter;
  readonly core?: string;
  /** As under exec: a copy with a gap is ended. */
  readonly resets?: boolean;
  /** Connections out of a million. */
  readonly sample?: number;
  /** Stands still while the load runs, with a ring that holds all of it: what is left is the kernel's share. */
  readonly isStopped?: boolean;
  readonly env?: Readonly<Record<string, string>>;
}

export type Way = (stage: MirrorStage) => Promise<Copying>;

export const nobody: Way = async () => ({
  cpuMs: () => 0,
  stop: async () => ({ lost: '', isWhole: true, bytes: null }),
});

export function mirrored(options: MirrorOptions = {}): Way {
  const { filter, core = '1', resets = false, sample = 0, isStopped = false } = options;
  const env = { ...(isStopped ? { MIRRORD_SNIFFER_RING_BYTES: String(LARGE_RING_BYTES) } : {}), ...options.env };
  return async ({ network }) => {
    const sniffer = await startSnifferProcess(env, ['taskset', '-c', core]);
    const mirror = await Mirror.open(sniffer, network.identity);
    mirror.resets = resets;
    mirror.onlyCounts = true;
    const { id } = await mirror.subscribe({ port: PORT, filter, samplePerMillion: sample });
    if (isStopped) process.kill(sniffer.pid, 'SIGSTOP');
    return {
      cpuMs: () => cpuMsOf(sniffer.pid),
      stop: async () => {
        if (isStopped) process.kill(sniffer.pid, 'SIGCONT');
        const { losses } = await mirror.unsubscribe(id);
        mirror.end();
        await sniffer[Symbol.asyncDispose]();
        const arrived = mirror.seen.reduce((sum, { bytes }) => sum + bytes, 0);
        const missing = losses.reduce((sum, { bytes }) => sum + Number(bytes), 0);
        const lines = losses.map(({ reason, bytes, packets }) => `${nameOf(reason)}: ${bytes} B ${packets} packets`);
        return { lost: lines.join(', ') || 'none', isWhole: losses.length === 0, bytes: arrived + missing };
      },
    };
  };
}

function nameOf(reason: LossReason): string {
  const [name = ''] = Object.entries(LossReason).find(([, value]) => value === reason) ?? [];
  return name.replace('LOSS_REASON_', '');
}

export const tcpdump: Way = (stage) =>
  stage.copier(
    ['tcpdump', '-i', 'any', '-s', '0', '-w', '/dev/null', 'tcp', 'dst', 'port', String(PORT)],
    'stderr',
    (said) => Number(/(\d+) packets dropped by kernel/.exec(said)?.[1] ?? Number.NaN),
  );

export const recvfrom: Way = (stage) =>
  stage.copier([stage.recvSniffer, String(PORT)], 'stdout', (said) =>
    Number(/dropped (\d+)/.exec(said)?.[1] ?? Number.NaN),
  );

/** Reassembles as goreplay does, in user space behind libpcap; says nothing of what it lost, so its files are measured. */
export const tcpflow: Way = async (stage) => {
  const out = mkdtempSync('/dev/shm/mirrord-bench-');
  const words = ['tcpflow', '-i', 'any', '-o', out, 'tcp', 'dst', 'port', String(PORT)];
  const copying = await stage.copier(words, 'stderr', () => 0);
  return {
    cpuMs: copying.cpuMs,
    stop: async (expectedBytes) => {
      await copying.stop(0);
      const sizes = readdirSync(out).filter((name) => name.includes(`.0${PORT}`));
      const bytes = sizes.reduce((sum, name) => sum + statSync(path.join(out, name)).size, 0);
      rmSync(out, { recursive: true });
      const missing = Math.max(0, expectedBytes - bytes);
      return { lost: missing === 0 ? 'none' : `${missing} B`, isWhole: missing === 0, bytes };
    },
  };
};

/** Those that this machine has. */
export function others(): Record<string, Way> {
  const ways: Record<string, Way> = { recvfrom };
  const has = (name: string) => ['/usr/bin', '/usr/sbin'].some((folder) => existsSync(`${folder}/${name}`));
  if (has('tcpdump')) ways['tcpdump -w'] = tcpdump;
  if (has('tcpflow')) ways['tcpflow'] = tcpflow;
  return ways;
}

export interface SteadyLoad {
  /** Of load and target, since they began. */
  cpuMs(): number;
  stop(): Promise<void>;
}

export class MirrorStage {
  readonly folder: string;
  readonly network: TargetNetwork;
  readonly recvSniffer: string;
  #stopNginx: (() => Promise<void>) | null = null;
  #worker = 0;
  readonly #statusAgent = new Agent({ keepAlive: true, maxSockets: 1 });
  /** Requests of ours. */
  #asked = 0;

  private constructor(folder: string, network: TargetNetwork) {
    this.folder = folder;
    this.network = network;
    this.recvSniffer = path.join(folder, 'recv_sniffer');
  }

  static async start(): Promise<MirrorStage> {
    // The session that takes the copies is this process.
    execFileSync('taskset', ['-a', '-p', '-c', '1', String(process.pid)]);
    const stage = new MirrorStage(mkdtempSync(path.join(tmpdir(), 'mirrord-bench-mirror-')), await startNetwork());
    stage.#prepare();
    await stage.#startNginx();
    return stage;
  }

  /** Runs it beyond the target on core 0; its output, and the CPU that it and the target took. */
  async load(words: readonly string[]): Promise<{ said: string; cpuMs: number }> {
    const { pid } = this.network.beyond;
    const before = cpuMsOf(this.#worker);
    const script = '"$@"; cat /proc/$$/stat';
    const { stdout } = await promisify(execFile)(
      'nsenter',
      ['-t', String(pid), '-n', 'taskset', '-c', '0', 'sh', '-c', script, 'sh', ...words],
      { maxBuffer: 1 << 24 },
    );
    const lines = stdout.trimEnd().split('\n');
    const fields = (lines.pop() ?? '').split(') ')[1]?.split(' ') ?? [];
    const ofLoad = (Number(fields[13]) + Number(fields[14])) * TICK_MS;
    return { said: lines.join('\n'), cpuMs: ofLoad + cpuMsOf(this.#worker) - before };
  }

  /** That the target has read by now: of those to PORT; this one does not count. */
  async requests(): Promise<number> {
    const { stdout } = await promisify(execFile)('nsenter', [
      ...['-t', String(this.network.target.pid), '-n'],
      ...['curl', '-s', `http://127.0.0.1:${STATUS_PORT}/status`],
    ]);
    this.#asked += 1;
    // server accepts handled requests
    return Number(/(\d+) *\nReading/.exec(stdout)?.[1] ?? Number.NaN) - this.#asked;
  }

  /** Without an end, beyond the target on core 0, until `stop`. */
  steadyLoad(words: readonly string[]): SteadyLoad {
    const enter = ['-t', String(this.network.beyond.pid), '-n', 'taskset', '-c', '0'];
    // Not longer than we.
    const child = spawn('nsenter', [...enter, 'setpriv', '--pdeathsig', 'KILL', ...words], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const exited = once(child, 'exit');
    return {
      cpuMs: () => cpuMsOf(child.pid as number) + cpuMsOf(this.#worker),
      stop: async () => {
        child.kill('SIGTERM');
        await exited;
      },
    };
  }

  /** That the target has answered, to whomever; it is asked by a way that no packet takes. */
  async answered(): Promise<number> {
    const response = get({ socketPath: path.join(this.folder, 'status'), path: '/status', agent: this.#statusAgent });
    const [answer] = (await once(response, 'response')) as [AsyncIterable<Buffer>];
    let said = '';
    for await (const chunk of answer) said += chunk.toString('latin1');
    return Number(/(\d+) *\nReading/.exec(said)?.[1] ?? Number.NaN);
  }

  /** A program in the target's network on core 1, once it has said something; `droppedOf` reads its last words. */
  async copier(
    words: readonly string[],
    saying: 'stdout' | 'stderr',
    droppedOf: (said: string) => number,
  ): Promise<Copying> {
    const { pid } = this.network.target;
    const child = spawn('nsenter', ['-t', String(pid), '-n', 'taskset', '-c', '1', ...words]);
    const exited = once(child, 'close');
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    await once(child[saying], 'data');
    return {
      cpuMs: () => cpuMsOf(child.pid as number),
      stop: async () => {
        child.kill('SIGINT');
        await exited;
        const dropped = droppedOf(said);
        return { lost: dropped === 0 ? 'none' : `${dropped} packets`, isWhole: dropped === 0, bytes: null };
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#statusAgent.destroy();
    await this.#stopNginx?.();
    await this.network[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }

  #prepare(): void {
    const { folder } = this;
    const at = (name: string) => path.join(folder, name);
    writeFileSync(
      at('wanted.lua'),
      `local n = 0
function request()
  n = n + 1
  return wrk.format("GET", n % 100 == 0 and "/wanted" or "/small")
end`,
    );
    writeFileSync(at('upload.lua'), 'wrk.method = "POST"\nwrk.body = string.rep("x", 1000000)');
    writeFileSync(
      at('nginx.conf'),
      `daemon off; user root; worker_processes 1; pid ${folder}/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; client_max_body_size 8m; client_body_buffer_size 2m; keepalive_requests 100000000;
  client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  server { listen ${PORT}; location / { return 200 "ok"; } location /large { root ${folder}; }
    location /upload { proxy_pass http://127.0.0.1:${STATUS_PORT}; } }
  server { listen ${STATUS_PORT}; listen unix:${folder}/status; location / { return 200 "ok"; } location /status { stub_status; } }
}`,
    );
    writeFileSync(at('large'), Buffer.alloc(1_000_000, 'x'));
    mkdirSync(at('b'));
    execFileSync('cc', ['-O2', '-o', this.recvSniffer, 'bench/src/recv_sniffer.c']);
  }

  async #startNginx(): Promise<void> {
    const enter = ['-t', String(this.network.target.pid), '-n'];
    const words = ['taskset', '-c', '0', 'nginx', '-c', path.join(this.folder, 'nginx.conf')];
    const child = spawn('nsenter', [...enter, ...words], { stdio: 'inherit' });
    const exited = once(child, 'exit');
    this.#stopNginx = async () => {
      child.kill('SIGTERM');
      await exited;
    };
    const ask = ['curl', '-s', '-o', '/dev/null', '--retry', '50', '--retry-connrefused', '--retry-delay', '0'];
    execFileSync('nsenter', [...enter, ...ask, `http://127.0.0.1:${PORT}/small`]);
    this.#worker = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'latin1').trim());
  }
}

/** Of every thread that there is; to the nanosecond, where /proc/PID/stat has ticks. */
export function cpuMsOf(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
  }
  return nanoseconds / NANOSECONDS_PER_MS;
}
