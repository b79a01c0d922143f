// What a request costs that a session might have stolen and did not want: through the stealer with a header filter, beside
// haproxy and nginx with the same rule, and without anybody; and one that the session did want, answered by a local process.
// CPU of the one process in between, from /proc/PID/stat.
//
// node bench/run.mjs steal-passthrough [ROUNDS] [SECONDS] [ROW: those whose name has it]; needs root, nginx, haproxy and wrk.

import { COLUMNS, inTurns, rowsOf, StealStage } from './steal-stage.ts';
import { median, printTable } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const row = process.argv[4] ?? '';
const ORIGIN = 8080;
const STOLEN = 8083;

const SERVER = `require('http').createServer((q,s)=>s.end('a'.repeat(128))).listen(${STOLEN},()=>console.log('serving'))`;

const stage = await StealStage.open();
try {
  const upload = stage.file('upload.lua', 'wrk.method = "POST"; wrk.body = string.rep("x", 1000000)');
  stage.file('large', Buffer.alloc(1_000_000, 0x61));
  const origin = `root ${stage.folder}; location /small { return 200 "${'a'.repeat(128)}"; }
    location /upload { proxy_pass http://127.0.0.1:8090; } location /large {}`;
  const inner = `server { listen 0.0.0.0:${ORIGIN}; listen 0.0.0.0:${STOLEN}; ${origin} }
    server { listen 127.0.0.1:8090; location / { return 200 "ok"; } }`;
  await stage.start(0, ['nginx', '-c', stage.nginx('origin', inner)], ORIGIN);
  const proxies = await stage.startProxies(ORIGIN);
  const stealer = await stage.steal(STOLEN, SERVER);
  const ways = {
    direct: { port: ORIGIN, pid: null },
    ...proxies,
    stealer: { port: STOLEN, pid: stealer },
  };
  const bob = ['-H', 'X-User: bob'];
  for (const [name, connections, at, args] of [
    ['small requests', 32, '/small', []],
    ['small requests', 1, '/small', []],
    ['small requests, each with a head of its own', 32, '/small', stage.unalike()],
    ['small requests, each with a head of its own', 1, '/small', stage.unalike()],
    ['1 MB answers', 32, '/large', []],
    ['1 MB uploads', 32, '/upload', ['-s', upload]],
  ] as const) {
    if (!name.includes(row)) continue;
    const words = [`-c${connections}`, ...args, ...bob];
    const samples = await inTurns(rounds, ways, (way) => stage.wrk(way, seconds, at, words));
    printTable(`${name}, ${connections} connections, ${rounds} rounds of ${seconds} s`, COLUMNS, rowsOf(samples));
  }
  // From the peer through stealer, agent and client to the local process and back, beside the target itself.
  const matched = { target: ways.direct, matched: ways.stealer };
  for (const connections of [1, 32]) {
    if (!'matched'.includes(row)) continue;
    const samples = await inTurns(rounds, matched, (way) =>
      stage.wrk(way, seconds, '/small', [`-c${connections}`, '-H', 'X-User: alice']),
    );
    const p50 = (name: 'target' | 'matched'): number => median((samples[name] ?? []).map((sample) => sample.p50));
    printTable(`requests that are matched, ${connections} connections`, COLUMNS, rowsOf(samples));
    console.log(`added by the way to the local process: ${(p50('matched') - p50('target')).toFixed(0)} us at p50`);
  }
} finally {
  await stage[Symbol.asyncDispose]();
}
