// What a request costs that came in TLS, was read, not wanted and encrypted again: through the stealer with a certificate and a
// header filter, beside haproxy with the same, and without anybody. HTTP/1.1 and HTTP/2, and new connections with their handshakes.
// CPU of the one process in between, from /proc/PID/stat.
//
// node bench/run.mjs steal-tls [ROUNDS] [SECONDS] [PART OF A ROW'S NAME]; needs root, nginx, haproxy, wrk, h2load and openssl.

import { readFileSync } from 'node:fs';
import { CertificateFolder } from '../test/fixtures/certificates.ts';
import { COLUMNS, inTurns, rowsOf, StealStage } from './steal-stage.ts';
import { printTable } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const row = process.argv[4] ?? '';
const [ORIGIN, HAPROXY, STOLEN] = [8080, 8081, 8083];

const haproxy = (both: string): string => `
global
  nbthread 1
  maxconn 4096
  tune.h2.initial-window-size 1048576
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 0.0.0.0:${HAPROXY} ssl crt ${both} alpn h2,http/1.1
  acl alice hdr_reg(x-user) -i ^alice$
  use_backend stolen if alice
  use_backend origin2 if { ssl_fc_alpn h2 }
  default_backend origin1
backend origin1
  server one 127.0.0.1:${ORIGIN} ssl verify none alpn http/1.1
backend origin2
  server one 127.0.0.1:${ORIGIN} ssl verify none alpn h2
backend stolen
  server none 127.0.0.1:1
`;

const SERVER = `require('http').createServer((q,s)=>s.end('local')).listen(${STOLEN},()=>console.log('serving'))`;

const certificates = new CertificateFolder();
const stage = await StealStage.open();
try {
  const pair = certificates.pair(['shop.test']);
  const both = stage.file('both.pem', Buffer.concat([readFileSync(pair.certificate), readFileSync(pair.key)]));
  stage.file('large', Buffer.alloc(1_000_000, 0x61));
  const inner = `server { listen 0.0.0.0:${ORIGIN} ssl http2; listen 0.0.0.0:${STOLEN} ssl http2; root ${stage.folder};
    ssl_certificate ${pair.certificate}; ssl_certificate_key ${pair.key};
    location /small { return 200 "${'a'.repeat(128)}"; } location /large {} }`;
  await stage.start(0, ['nginx', '-c', stage.nginx('origin', inner)], ORIGIN);
  const proxy = await stage.start(1, ['haproxy', '-f', stage.file('haproxy.cfg', haproxy(both))], HAPROXY);
  const tls = [{ from: 'local', ...pair, server_names: ['*'] }];
  const stealer = await stage.steal(STOLEN, SERVER, {}, { tls, tls_delivery: { protocol: 'tcp' } });
  const ways = {
    direct: { port: ORIGIN, pid: null, scheme: 'https' },
    haproxy: { port: HAPROXY, pid: proxy, scheme: 'https' },
    stealer: { port: STOLEN, pid: stealer, scheme: 'https' },
  } as const;
  const paths = stage.file('paths', stage.paths('https'));
  const bob = ['-H', 'X-User: bob'];
  for (const [name, at, args] of [
    ['small requests, 32 connections', '/small', ['-c32']],
    ['small requests, each with a head of its own, 32 connections', '/small', ['-c32', ...stage.unalike()]],
    ['small requests, each on a new connection, 8 at once', '/small', ['-c8', '-H', 'Connection: close']],
    ['1 MB answers, 32 connections', '/large', ['-c32']],
  ] as const) {
    if (!name.includes(row)) continue;
    const samples = await inTurns(rounds, ways, (way) => stage.wrk(way, seconds, at, [...args, ...bob]));
    printTable(`HTTP/1.1 in TLS, ${name}, ${rounds} rounds of ${seconds} s`, COLUMNS, rowsOf(samples));
  }
  for (const [name, at, args] of [
    ['small requests, 4 connections of 32 streams', '/small', ['-c4', '-m32']],
    ['small requests, 4 connections of 32 streams, each of another path', '/small', ['-c4', '-m32', '-i', paths]],
    ['1 MB answers, 4 connections of 4 streams', '/large', ['-c4', '-m4', '-w20', '-W20']],
  ] as const) {
    if (!name.includes(row)) continue;
    const samples = await inTurns(rounds, ways, (way) => stage.h2load(way, seconds, at, [...args, ...bob]));
    const columns = [...COLUMNS.slice(0, 5), 'mean us', 'most us'];
    printTable(`HTTP/2 in TLS, ${name}, ${rounds} rounds of ${seconds} s`, columns, rowsOf(samples));
  }
} finally {
  await stage[Symbol.asyncDispose]();
  certificates[Symbol.dispose]();
}
