// Sessions of real clients with real servers, mirrored: what the target received and sent is, byte for byte, what the session
// was shown, and what it received is what a local process under exec was given, but for HTTP/2.
//
//   client beyond --- PORT of the target: hash-relay.mjs --- the server, on a port of the target's loopback

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, type Run, until } from '../integration/exec-harness.ts';
import { Mirror, type RunningSniffer, startSniffer } from '../integration/sniffer-harness.ts';
import { buildNode } from '../peers/build.ts';
import { type Place, SQL, STORE_PORT, servePostgresAt, serveRedisAt } from '../peers/servers.ts';

const machine =
  [can.root, can.nats, canRun('psql', 'redis-server', 'redis-cli', 'setpriv')].find(({ yes }) => !yes) ?? can.root;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);
const AT = '10.99.0.1';
/** The relay's ports, and the servers' behind it. */
const PORTS = { store: 7001, sql: 7002, calls: 7003, web: 7004 };
const CALLS = 5000;
const WEB = 8080;

describe.skipIf(!machine.yes)(`sessions that are mirrored ${machine.why}`, () => {
  let folder: string;
  let network: TargetNetwork;
  let relay: Peer;
  let sniffer: RunningSniffer;
  let mirror: Mirror;
  let harness: ExecHarness;
  let local: Run;

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'mirrord-sessions-'));
    chmodSync(folder, 0o755);
    network = await startNetwork();
    const { target } = network;
    const place: Place = {
      network,
      where: target,
      listen: '127.0.0.1',
      from: '127.0.0.1',
      makeFolder: (name) => {
        const made = path.join(folder, name);
        mkdirSync(made);
        return made;
      },
    };
    await Promise.all([
      servePostgresAt(place),
      serveRedisAt(place),
      network.serve(target, [process.execPath, buildNode('calls.mjs'), 'serve', `127.0.0.1:${CALLS}`]),
      network.serve(target, [process.execPath, fixture('web-socket.mjs'), 'serve', `${WEB}`]),
    ]);
    const pairs = { [PORTS.store]: STORE_PORT, [PORTS.sql]: SQL.port, [PORTS.calls]: CALLS, [PORTS.web]: WEB };
    const words = Object.entries(pairs).map(([port, upstream]) => `${port}=${upstream}`);
    relay = await network.serve(target, [process.execPath, fixture('hash-relay.mjs'), ...words]);
    sniffer = await startSniffer();
    mirror = await Mirror.open(sniffer, network.identity);
    for (const port of Object.values(PORTS)) {
      await mirror.subscribe({ port, withAnswers: true, connectionBytes: 16 << 20, limitBytes: 64 << 20 });
    }
    harness = new ExecHarness();
    const config = path.join(harness.folder, 'mirrord.json');
    const feature = { network: { incoming: 'mirror', outgoing: false, dns: false }, fs: 'local' };
    writeFileSync(config, JSON.stringify({ feature }));
    const sink = [process.execPath, fixture('hash-relay.mjs'), ...Object.values(PORTS).map((port) => `${port}=`)];
    local = harness.start(['exec', '-t', `pid/${target.pid}`, '-f', config, '--', ...sink]);
    for (const port of Object.values(PORTS)) await local.complained(`mirroring port ${port}`);
  });

  afterAll(async () => {
    harness?.close();
    mirror?.end();
    await sniffer?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  /**
   * Runs a script of clients beyond the target; each of its connections is the same everywhere. HTTP/2 is played to the local
   * process anew (mirror-http2-whole.test.ts).
   */
  async function same(connections: number, script: string, isHttp2 = false): Promise<string> {
    const file = path.join(folder, 'clients.sh');
    writeFileSync(file, `set -eu\n${script}\n`);
    const said = await network.run(network.beyond, `sh ${file}`);
    for (let count = 0; count < connections; count += 1) {
      const line = await relay.line('over');
      const [, port, bytes, sha256, outBytes, outSha] = line.split(' ');
      const seen = await mirror.over(Number(port));
      expect([seen.bytes, seen.sha256, seen.gaps]).toEqual([Number(bytes), sha256, []]);
      expect([seen.answerBytes, seen.answerSha256]).toEqual([Number(outBytes), outSha]);
      if (isHttp2) continue;
      await until(
        () => `the local process has had ${line}: ${local.stdout()}`,
        () => local.stdout().includes(`over ${port} ${bytes} ${sha256} `),
        60_000,
      );
    }
    return said;
  }

  test('redis: single commands, a pipeline of 20,000, a value of 2 MB', async () => {
    const said = await same(
      4,
      `cli="redis-cli -h ${AT} -p ${PORTS.store}"
      $cli set tea 3
      seq 1 20000 | sed 's/.*/SET key:& value:&\\r/' | $cli --pipe | tail -n 1
      head -c 2000000 /dev/urandom | base64 -w0 | $cli -x set large
      $cli dbsize`,
    );
    expect(said).toBe('OK\nerrors: 0, replies: 20000\nOK\n20002\n');
  });

  test('PostgreSQL: queries, COPY both ways, an error', async () => {
    const said = await same(
      4,
      `export PGPASSWORD=${SQL.password}
      psql="psql -X -q -At -v ON_ERROR_STOP=1 -h ${AT} -p ${PORTS.sql} -U ${SQL.user} -d ${SQL.database}"
      $psql -c 'create table lines (number integer, text text)'
      seq 1 50000 | awk '{ print $1 "\\t" "line " $1 }' | $psql -c 'copy lines from stdin'
      $psql -c 'copy lines to stdout' | awk '{ sum += $1 } END { print NR, sum }'
      $psql -c 'select 1 / 0' 2>&1 || echo "code $?"`,
    );
    expect(said).toBe('50000 1250025000\nERROR:  division by zero\ncode 1\n');
  });

  test('gRPC: calls and streams of every kind, and what is cancelled', async () => {
    const said = await same(1, `${process.execPath} ${buildNode('calls.mjs')} ask ${AT}:${PORTS.calls}`, true);
    expect(said).toContain('unary 100\nlarge true\nserver stream 5000 5000\nclient stream 1000000 from');
  });

  test('WebSocket: 200 messages there and back', async () => {
    const client = `${process.execPath} --experimental-websocket --no-warnings ${fixture('web-socket.mjs')}`;
    const said = await same(1, `${client} talk ws://${AT}:${PORTS.web}/ 200`);
    expect(said).toMatch(/^right [1-9][0-9]{6}\n$/);
  });
});
