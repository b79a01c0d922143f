// What a request costs that a session might have stolen and did not want: through the stealer with a header filter, beside
// haproxy and nginx with the same rule, and without anybody. CPU of the one process in between, from /proc/PID/stat; it has
// core 1 for itself, load and target share core 0.
//
// node bench/run.mjs steal-passthrough [ROUNDS] [SECONDS]; needs root, nginx, haproxy and wrk.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { startNetwork, type TargetNetwork } from '../test/fixtures/network.ts';
import { descendantsOf } from '../test/fixtures/processes.ts';
import { ExecHarness } from '../test/integration/exec-harness.ts';
import { median, printTable, ratios } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const CONNECTIONS = 32;
const ORIGIN = 8080;
const STOLEN = 8083;
/** USER_HZ on every Linux of today (getconf CLK_TCK). */
const TICKS_PER_SECOND = 100;

type Way = 'direct' | 'haproxy' | 'nginx' | 'stealer';
type Load = Readonly<{ name: string; at: string; args: readonly string[] }>;
type Sample = Readonly<{ perSecond: number; cpuMicros: number; p50: number; p99: number }>;

const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-bench-steal-'));
const loads: readonly Load[] = [
  { name: 'small requests', at: '/small', args: [] },
  { name: '1 MB answers', at: '/large', args: [] },
  { name: '1 MB uploads', at: '/upload', args: ['-s', path.join(folder, 'upload.lua')] },
];

function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

function microsOf(text: string): number {
  const [, number = '0', unit = 'us'] = /([0-9.]+)(us|ms|s)/.exec(text) ?? [];
  return Number(number) * { us: 1, ms: 1_000, s: 1_000_000 }[unit as 'us' | 'ms' | 's'];
}

async function measure(network: TargetNetwork, port: number, pid: number | null, load: Load): Promise<Sample> {
  const before = pid === null ? 0 : cpuTicks(pid);
  const words = ['taskset', '-c', '0', 'wrk', '-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '--latency', ...load.args];
  const { stdout } = await promisify(execFile)('nsenter', [
    ...['-t', String(network.beyond.pid), '-n'],
    ...[...words, '-H', 'X-User: bob', `http://10.99.0.1:${port}${load.at}`],
  ]);
  const used = pid === null ? 0 : cpuTicks(pid) - before;
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
  if (requests === 0 || /Non-2xx/.test(stdout)) throw new Error(`the load failed:\n${stdout}`);
  return {
    perSecond: requests / seconds,
    cpuMicros: ((used / TICKS_PER_SECOND) * 1e6) / requests,
    p50: microsOf(/50%\s+(\S+)/.exec(stdout)?.[1] ?? ''),
    p99: microsOf(/99%\s+(\S+)/.exec(stdout)?.[1] ?? ''),
  };
}

const nginxConfig = (port: number, location: string): string => `
daemon off; user root; worker_processes 1; pid ${folder}/nginx-${port}.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; client_max_body_size 8m; client_body_buffer_size 2m; keepalive_requests 100000000;
  client_body_temp_path ${folder}/b${port}; proxy_temp_path ${folder}/p${port}; fastcgi_temp_path ${folder}/f${port};
  uwsgi_temp_path ${folder}/u${port}; scgi_temp_path ${folder}/s${port};
  upstream origin { server 127.0.0.1:${ORIGIN}; keepalive 64; keepalive_requests 100000000; }
  map $http_x_user $is_alice { default 0; ~*^alice$ 1; }
  server { listen 0.0.0.0:${port}; ${location} }
}`;

const HAPROXY = `
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
  server one 127.0.0.1:${ORIGIN}
backend stolen
  server none 127.0.0.1:1
`;

async function startIn(network: TargetNetwork, core: number, words: readonly string[], port: number): Promise<number> {
  const pinned = ['taskset', '-c', String(core), ...words];
  const child = spawn('nsenter', ['-t', String(network.target.pid), '-n', ...pinned], { stdio: 'inherit' });
  stops.push(async () => {
    child.kill('SIGTERM');
    await once(child, 'exit');
  });
  for (const endMs = performance.now() + 10_000; ; ) {
    const isUp = await promisify(execFile)('nsenter', [
      ...['-t', String(network.target.pid), '-n', 'curl', '-s', '-o', '/dev/null', `http://127.0.0.1:${port}/small`],
    ]).then(
      () => true,
      () => false,
    );
    if (isUp) break;
    if (performance.now() > endMs) throw new Error(`${words[0]} does not answer on port ${port} within 10 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  // The worker, where there is one, does the work.
  return descendantsOf(child.pid ?? 0).at(-1) ?? child.pid ?? 0;
}

const stops: Array<() => Promise<void>> = [];

async function main(): Promise<void> {
  writeFileSync(path.join(folder, 'upload.lua'), 'wrk.method = "POST"; wrk.body = string.rep("x", 1000000)');
  writeFileSync(path.join(folder, 'large'), Buffer.alloc(1_000_000, 0x61));
  const origin = `root ${folder}; location /small { return 200 "${'a'.repeat(128)}"; } location /upload { proxy_pass http://127.0.0.1:8090; } location /large {}`;
  const sink = `server { listen 127.0.0.1:8090; location / { return 200 "ok"; } }`;
  writeFileSync(
    path.join(folder, 'origin.conf'),
    nginxConfig(ORIGIN, origin)
      .replace(/}\s*$/, `${sink} }`)
      .replace('listen 0.0.0.0:8080;', 'listen 0.0.0.0:8080; listen 0.0.0.0:8083;'),
  );
  writeFileSync(
    path.join(folder, 'proxy.conf'),
    nginxConfig(
      8082,
      'location / { if ($is_alice) { return 599; } proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }',
    ),
  );
  writeFileSync(path.join(folder, 'haproxy.cfg'), HAPROXY);
  const network = await startNetwork();
  stops.push(() => network[Symbol.asyncDispose]());
  await startIn(network, 0, ['nginx', '-c', path.join(folder, 'origin.conf')], ORIGIN);
  const haproxy = await startIn(network, 1, ['haproxy', '-f', path.join(folder, 'haproxy.cfg')], 8081);
  const nginx = await startIn(network, 1, ['nginx', '-c', path.join(folder, 'proxy.conf')], 8082);

  const harness = new ExecHarness();
  const config = path.join(folder, 'mirrord.json');
  const incoming = { mode: 'steal', http_filter: { header_filter: '^x-user: alice$' } };
  writeFileSync(config, JSON.stringify({ feature: { network: { incoming } } }));
  const server = `require('http').createServer((q,s)=>s.end('local')).listen(${STOLEN},()=>console.log('serving'))`;
  const words = ['exec', '-f', config, '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', server];
  const run = harness.start(words);
  stops.push(async () => {
    run.child.kill('SIGTERM');
    await run.outcome;
    harness.close();
  });
  await run.complained(`stealing port ${STOLEN}`);
  const stealer = descendantsOf(run.pid).find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('dist/stealer.js'),
  );
  if (stealer === undefined) throw new Error('no stealer runs');
  await promisify(execFile)('taskset', ['-a', '-c', '-p', '1', String(stealer)]);

  const ways: Record<Way, readonly [number, number | null]> = {
    direct: [ORIGIN, null],
    haproxy: [8081, haproxy],
    nginx: [8082, nginx],
    stealer: [STOLEN, stealer],
  };
  const names = Object.keys(ways) as Way[];
  for (const load of loads) {
    const samples = Object.fromEntries(names.map((name) => [name, [] as Sample[]])) as Record<Way, Sample[]>;
    for (let round = 0; round <= rounds; round++) {
      for (const name of names) {
        const sample = await measure(network, ways[name][0], ways[name][1], load);
        if (round > 0) samples[name].push(sample);
      }
    }
    const of = (name: Way, field: keyof Sample): number[] => samples[name].map((sample) => sample[field]);
    printTable(
      `${load.name}, ${CONNECTIONS} connections, ${rounds} rounds of ${seconds} s`,
      ['', 'requests/s', 'CPU us/request', 'requests/core-s', 'of haproxy', 'p50 us', 'p99 us'],
      names.map((name) => {
        const cpu = median(of(name, 'cpuMicros'));
        // Requests per core-second are the inverse of CPU per request.
        const [ratio] = name === 'direct' ? [0] : ratios(of('haproxy', 'cpuMicros'), of(name, 'cpuMicros'));
        return [
          name,
          median(of(name, 'perSecond')),
          name === 'direct' ? '-' : cpu,
          name === 'direct' ? '-' : 1e6 / cpu,
          name === 'direct' ? '-' : ratio,
          median(of(name, 'p50')),
          median(of(name, 'p99')),
        ];
      }),
    );
  }
}

try {
  await main();
} finally {
  for (const stop of stops.reverse()) await stop();
  rmSync(folder, { recursive: true });
}
