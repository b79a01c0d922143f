// The same as steal-passthrough for HTTP/2: small and 1 MB answers, and gRPC. haproxy speaks HTTP/2 on both sides; nginx
// cannot pass it on.
//
// node bench/run.mjs steal-http2 [ROUNDS] [SECONDS] [PART OF A ROW'S NAME]; needs root, nginx, haproxy and h2load. h2load tells
// mean and maximum, not p50 and p99.

import path from 'node:path';
import { COLUMNS, inTurns, rowsOf, StealStage } from './steal-stage.ts';
import { printTable } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const row = process.argv[4] ?? '';
const [ORIGIN, STOLEN, GRPC, GRPC_STOLEN] = [8080, 8083, 8090, 8093];

const HAPROXY = `
global
  nbthread 1
  maxconn 4096
  tune.h2.initial-window-size 1048576
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend web
  bind 0.0.0.0:8081 proto h2
  acl alice hdr_reg(x-user) -i ^alice$
  use_backend stolen if alice
  default_backend origin
frontend calls
  bind 0.0.0.0:8082 proto h2
  acl alice hdr_reg(x-user) -i ^alice$
  use_backend stolen if alice
  default_backend grpc
backend origin
  server one 127.0.0.1:${ORIGIN} proto h2
backend grpc
  server one 127.0.0.1:${GRPC} proto h2
backend stolen
  server none 127.0.0.1:1
`;

const LISTENS = [STOLEN, GRPC_STOLEN].map((port) => `h.createServer().listen(${port},()=>console.log('serving'))`);

const stage = await StealStage.open();
try {
  stage.file('large', Buffer.alloc(1_000_000, 0x61));
  const inner = `server { listen 0.0.0.0:${ORIGIN} http2; listen 0.0.0.0:${STOLEN} http2; root ${stage.folder};
    location /small { return 200 "${'a'.repeat(128)}"; } location /large {} }`;
  await stage.start(0, ['nginx', '-c', stage.nginx('origin', inner)], ORIGIN);
  const echo = path.join(import.meta.dirname, '../test/fixtures/grpc-echo.mjs');
  for (const port of [GRPC, GRPC_STOLEN]) {
    await stage.start(0, [process.execPath, echo, 'serve', `0.0.0.0:${port}`, 'target'], port);
  }
  const haproxy = await stage.start(1, ['haproxy', '-f', stage.file('haproxy.cfg', HAPROXY)], 8081);
  const stealer = await stage.steal(GRPC_STOLEN, `const h=require('http2');${LISTENS.join(';')}`);
  const web = {
    direct: { port: ORIGIN, pid: null },
    haproxy: { port: 8081, pid: haproxy },
    stealer: { port: STOLEN, pid: stealer },
  };
  const grpc = {
    direct: { port: GRPC, pid: null },
    haproxy: { port: 8082, pid: haproxy },
    stealer: { port: GRPC_STOLEN, pid: stealer },
  };
  const paths = stage.file('paths', stage.paths('http'));
  const call = stage.file('call', Buffer.from([0, 0, 0, 0, 5, ...Buffer.from('hello')]));
  const asGrpc = ['-d', call, '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  for (const [name, ways, at, args] of [
    ['small requests, 4 connections of 32 streams', web, '/small', ['-c4', '-m32']],
    ['small requests, 4 connections of 32 streams, each of another path', web, '/small', ['-c4', '-m32', '-i', paths]],
    ['small requests, one at a time', web, '/small', ['-c1', '-m1']],
    ['small requests, one at a time, each of another path', web, '/small', ['-c1', '-m1', '-i', paths]],
    [
      'small requests, 4 connections of 32 streams, each of another path, id and cookie',
      web,
      '/small',
      ['web', '4', '32'],
    ],
    ['small requests, one at a time, each of another path, id and cookie', web, '/small', ['web', '1', '1']],
    ['1 MB answers, 4 connections of 4 streams', web, '/large', ['-c4', '-m4', '-w20', '-W20']],
    ['gRPC, unary, 4 connections of 32 streams', grpc, '/test.Echo/One', ['-c4', '-m32', ...asGrpc]],
    ['gRPC, unary, 4 connections of 32 streams, each with other metadata', grpc, '/test.Echo/One', ['grpc', '4', '32']],
    ['gRPC, unary, one at a time, each with other metadata', grpc, '/test.Echo/One', ['grpc', '1', '1']],
  ] as const) {
    if (!name.includes(row)) continue;
    const words = ['-H', 'x-user: bob', ...args];
    const isVaried = args[0] === 'web' || args[0] === 'grpc';
    const samples = await inTurns(rounds, ways, (way) =>
      isVaried ? stage.varied(way, seconds, at, args) : stage.h2load(way, seconds, at, words),
    );
    const columns = [...COLUMNS.slice(0, 5), 'mean us', 'most us'];
    printTable(`${name}, ${rounds} rounds of ${seconds} s`, columns, rowsOf(samples));
  }
} finally {
  await stage[Symbol.asyncDispose]();
}
