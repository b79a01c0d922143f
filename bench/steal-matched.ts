// What a request takes more that a session wanted, and that a local process far away answers: over a distance that a relay
// between client and agent makes. The least is one round trip, there and back; whether it is on a connection that is kept or on
// a new one, and whatever its size below what a connection may send at once.
//
// node bench/run.mjs steal-matched [SECONDS]; needs root, nginx and wrk.

import path from 'node:path';
import { Whole } from '../test/fixtures/whole.ts';
import { startDelayRelay } from './delay-relay.ts';
import { StealStage } from './steal-stage.ts';
import { printTable } from './table.ts';

const seconds = Number(process.argv[2] ?? 5);
const ROUND_TRIPS_MS = [0, 20, 100];
const ORIGIN = 8080;
const STOLEN = 8083;
const SERVER = `require('http').createServer((q,s)=>{q.resume().on('end',()=>s.end('a'.repeat(128)))}).listen(${STOLEN},()=>console.log('serving'))`;
const ALICE = ['-H', 'X-User: alice'];

const stage = await StealStage.open();
try {
  const upload = stage.file('upload.lua', 'wrk.method = "POST"; wrk.body = string.rep("x", 100000)');
  const KINDS: ReadonlyArray<readonly [string, readonly string[]]> = [
    ['one at a time', ['-c1']],
    ['one at a time, each on a new connection', ['-c1', '-H', 'Connection: close']],
    ['one at a time, 100 KB up', ['-c1', '-s', upload]],
    ['64 connections', ['-c64']],
  ];
  const inner = `server { listen 0.0.0.0:${ORIGIN}; listen 0.0.0.0:${STOLEN}; client_body_buffer_size 2m;
    location / { return 200 "${'a'.repeat(128)}"; } }`;
  await stage.start(0, ['nginx', '-c', stage.nginx('origin', inner)], ORIGIN);
  const whole = await Whole.start({
    target: stage.network.target,
    listen: '127.0.0.1:0',
    agentVariables: { MIRRORD_WITH_SERVICES: 'fs-env,stealer' },
  });
  stage.onEnd(() => whole.close());
  const rows: Array<Array<string | number>> = [];
  for (const roundTripMs of ROUND_TRIPS_MS) {
    const relay = await startDelayRelay(whole.address, roundTripMs, false);
    const { stop } = await stage.startSession(STOLEN, SERVER, {
      MIRRORD_AGENT_ADDRESS: relay.address,
      MIRRORD_AGENT_KEY_FILE: path.join(whole.base, 'key'),
    });
    for (const [name, words] of KINDS) {
      const of = (port: number) => stage.wrk({ port, pid: null }, seconds, '/', [...words, ...ALICE]);
      const direct = await of(ORIGIN);
      const matched = await of(STOLEN);
      const addedMs = (matched.p50 - direct.p50) / 1_000;
      const trips = roundTripMs === 0 ? '-' : addedMs / roundTripMs;
      rows.push([name, roundTripMs, direct.p50, matched.p50, addedMs, trips, matched.perSecond]);
    }
    await stop();
    await relay.close();
  }
  printTable(
    'requests that are matched, beside the target itself',
    ['', 'RTT ms', 'direct p50 us', 'matched p50 us', 'added ms', 'added round trips', 'matched requests/s'],
    rows,
  );
} finally {
  await stage[Symbol.asyncDispose]();
}
process.exit();
