// What a mirror costs the target, and what it costs itself: requests through the target alone, with the sniffer copying them,
// with tcpdump writing them, with a program that calls recvfrom for each packet. Load and target share core 0; who copies has
// core 1, with the session that takes the copy.
//
// node bench/run.mjs mirror-capture [ROUNDS] [SECONDS]; needs root, nginx, wrk, and tcpdump for its row.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { type HttpFilter, LossReason } from '../proto/gen/v1/incoming.ts';
import { startNetwork, type TargetNetwork } from '../test/fixtures/network.ts';
import { Mirror } from '../test/integration/sniffer-harness.ts';
import { startSnifferProcess } from '../test/integration/sniffer-process.ts';
import { median, printTable, ratios } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const PORT = 8080;
const CONNECTIONS = 32;
/** USER_HZ on every Linux of today (getconf CLK_TCK). */
const TICKS_PER_SECOND = 100;
const WANTED: HttpFilter = { conditions: [{ condition: { $case: 'path', value: '^/wanted' } }], isAny: false };

type Load = Readonly<{ name: string; at: string; args: readonly string[] }>;
type Sample = Readonly<{ perSecond: number; cpuMs: number; p50: number; p99: number; lost: string }>;
/** Copies while the load runs; returns its CPU ticks so far, and how it ends. */
type Copying = Readonly<{ ticks(): number; stop(): Promise<string> }>;

const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-bench-mirror-'));
const loads: readonly Load[] = [
  { name: 'small requests', at: '/small', args: [] },
  { name: '1 in 100 wanted', at: '/small', args: ['-s', path.join(folder, 'wanted.lua')] },
  { name: '1 MB answers', at: '/large', args: [] },
  { name: '1 MB uploads', at: '/upload', args: ['-s', path.join(folder, 'upload.lua')] },
];

function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

function microsOf(text: string): number {
  const [, number = '0', unit = 'us'] = /([0-9.]+)(us|ms|s)/.exec(text) ?? [];
  return Number(number) * { us: 1, ms: 1_000, s: 1_000_000 }[unit as 'us' | 'ms' | 's'];
}

const inTarget = (network: TargetNetwork) => ['-t', String(network.target.pid), '-n'];

async function load(
  network: TargetNetwork,
  { at, args }: Load,
): Promise<Omit<Sample, 'cpuMs' | 'lost'> & { requests: number }> {
  const { stdout } = await promisify(execFile)('nsenter', [
    ...['-t', String(network.beyond.pid), '-n', 'taskset', '-c', '0', 'wrk', '-t1', `-c${CONNECTIONS}`],
    ...[`-d${seconds}s`, '--latency', ...args, `http://10.99.0.1:${PORT}${at}`],
  ]);
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
  if (requests === 0) throw new Error(`the load failed:\n${stdout}`);
  const micros = (line: RegExp) => microsOf(line.exec(stdout)?.[1] ?? '');
  return { requests, perSecond: requests / seconds, p50: micros(/50%\s+(\S+)/), p99: micros(/99%\s+(\S+)/) };
}

async function mirrored(network: TargetNetwork, filter: HttpFilter | undefined): Promise<Copying> {
  const sniffer = await startSnifferProcess({}, ['taskset', '-c', '1']);
  const mirror = await Mirror.open(sniffer, network.identity);
  const { id } = await mirror.subscribe({ port: PORT, filter });
  return {
    ticks: () => ticksOf(sniffer.pid),
    stop: async () => {
      const { losses } = await mirror.unsubscribe(id);
      mirror.end();
      await sniffer[Symbol.asyncDispose]();
      const nameOf = (reason: LossReason) => Object.entries(LossReason).find(([, value]) => value === reason)?.[0];
      const lines = losses.map(({ reason, bytes, packets }) => `${nameOf(reason)}: ${bytes} B ${packets} packets`);
      return lines.join(', ').replaceAll('LOSS_REASON_', '') || 'none';
    },
  };
}

async function program(network: TargetNetwork, words: readonly string[], said: 'stdout' | 'stderr'): Promise<Copying> {
  const child = spawn('nsenter', [...inTarget(network), 'taskset', '-c', '1', ...words]);
  const exited = once(child, 'exit');
  await once(child[said], 'data');
  return {
    ticks: () => ticksOf(child.pid as number),
    stop: async () => {
      child.kill('SIGINT');
      await exited;
      return '';
    },
  };
}

const ways: Record<string, (network: TargetNetwork) => Promise<Copying>> = {
  nobody: async () => ({ ticks: () => 0, stop: async () => '' }),
  sniffer: (network) => mirrored(network, undefined),
  'sniffer, filtered': (network) => mirrored(network, WANTED),
  recvfrom: (network) => program(network, [path.join(folder, 'recv_sniffer'), String(PORT)], 'stdout'),
};
if (existsSync('/usr/bin/tcpdump') || existsSync('/usr/sbin/tcpdump')) {
  ways['tcpdump -w'] = (network) =>
    program(
      network,
      ['tcpdump', '-i', 'any', '-s', '0', '-w', '/dev/null', 'tcp', 'dst', 'port', String(PORT)],
      'stderr',
    );
}

function prepare(): void {
  writeFileSync(
    path.join(folder, 'wanted.lua'),
    `local n = 0
function request()
  n = n + 1
  return wrk.format("GET", n % 100 == 0 and "/wanted" or "/small")
end`,
  );
  writeFileSync(path.join(folder, 'upload.lua'), 'wrk.method = "POST"\nwrk.body = string.rep("x", 1000000)');
  writeFileSync(
    path.join(folder, 'nginx.conf'),
    `daemon off; user root; worker_processes 1; pid ${folder}/pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; client_max_body_size 8m; client_body_buffer_size 2m; keepalive_requests 100000000;
  client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  server { listen ${PORT}; location / { return 200 "ok"; } location /large { root ${folder}; }
    location /upload { proxy_pass http://127.0.0.1:8090; } }
  server { listen 8090; location / { return 200 "ok"; } }
}`,
  );
  writeFileSync(path.join(folder, 'large'), Buffer.alloc(1_000_000, 'x'));
  execFileSync('cc', ['-O2', '-o', path.join(folder, 'recv_sniffer'), 'bench/src/recv_sniffer.c']);
}

async function startNginx(network: TargetNetwork): Promise<() => Promise<void>> {
  const words = ['taskset', '-c', '0', 'nginx', '-c', path.join(folder, 'nginx.conf')];
  const child = spawn('nsenter', [...inTarget(network), ...words], { stdio: 'inherit' });
  const exited = once(child, 'exit');
  const ask = ['curl', '-s', '-o', '/dev/null', '--retry', '50', '--retry-connrefused', '--retry-delay', '0'];
  execFileSync('nsenter', [...inTarget(network), ...ask, `http://127.0.0.1:${PORT}/small`]);
  return async () => {
    child.kill('SIGTERM');
    await exited;
  };
}

async function main(): Promise<void> {
  prepare();
  // The session that takes the copies is this process.
  execFileSync('taskset', ['-a', '-p', '-c', '1', String(process.pid)]);
  await using network = await startNetwork();
  const stopNginx = await startNginx(network);
  try {
    for (const one of loads) {
      const samples = new Map<string, Sample[]>(Object.keys(ways).map((name) => [name, []]));
      for (let round = 0; round < rounds; round++) {
        for (const [name, start] of Object.entries(ways)) {
          const copying = await start(network);
          const before = copying.ticks();
          const { requests, ...rest } = await load(network, one);
          const cpuMs = ((copying.ticks() - before) / TICKS_PER_SECOND) * 1e3 * (10_000 / requests);
          samples.get(name)?.push({ ...rest, cpuMs, lost: await copying.stop() });
        }
      }
      print(one.name, samples);
    }
  } finally {
    await stopNginx();
  }
}

function print(title: string, samples: Map<string, Sample[]>): void {
  const of = (name: string, key: 'perSecond' | 'p50' | 'p99' | 'cpuMs') => (samples.get(name) ?? []).map((s) => s[key]);
  const rows = [...samples.keys()].map((name) => {
    const [rate, least, most] = ratios(of(name, 'perSecond'), of('nobody', 'perSecond'));
    const spread = `${least.toFixed(2)} to ${most.toFixed(2)}`;
    const [p50] = ratios(of(name, 'p50'), of('nobody', 'p50'));
    const [p99] = ratios(of(name, 'p99'), of('nobody', 'p99'));
    const lost = samples.get(name)?.at(-1)?.lost ?? '';
    return [name, median(of(name, 'perSecond')), rate, spread, p50, p99, median(of(name, 'cpuMs')), lost];
  });
  const head = [
    '',
    'requests/s',
    'to nobody',
    'rounds',
    'p50',
    'p99',
    'CPU ms / 10,000',
    'lost (reason: what), last round',
  ];
  printTable(title, head, rows);
}

try {
  await main();
} finally {
  rmSync(folder, { recursive: true });
}
