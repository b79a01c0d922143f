// What a shop keeps its data in and talks through: clients of databases, of a bus, of gRPC and of a shell, whose servers are
// behind the target.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { BEYOND, type Peer } from '../fixtures/network.ts';
import { buildNode } from './build.ts';
import { BUS_PORT, SHELL_PORT, SQL, STORE_PORT, serveNats, servePostgres, serveRedis, serveSsh } from './servers.ts';
import { DOMAIN, Stage, TARGET } from './stage.ts';

const TOOLS = ['psql', 'redis-server', 'redis-cli', 'ssh', 'scp', 'ssh-keygen', 'setpriv'];
const machine = [can.root, can.nats, canRun(...TOOLS)].find(({ yes }) => !yes) ?? can.root;

describe.skipIf(!machine.yes)(`clients of databases, buses and shells ${machine.why}`, () => {
  let stage: Stage;
  let calls: Peer;
  let shell: { key: string; knownHosts: string };
  let body: { file: string; sha256: string };

  beforeAll(async () => {
    stage = await Stage.start();
    body = stage.makeFile('body', 2_000_001);
    await Promise.all([servePostgres(stage), serveRedis(stage), serveNats(stage)]);
    shell = await serveSsh(stage);
    calls = await stage.serveScript('calls.mjs', 'serve', `${BEYOND}:5000`);
  });

  afterAll(() => stage?.close());

  const prints = async (command: readonly string[], stdout: string, variables: Record<string, string> = {}) => {
    const outcome = await stage.exec(command, { variables });
    expect({ code: outcome.code, stdout: outcome.stdout }, outcome.stderr).toEqual({ code: 0, stdout });
  };
  const shellPrints = (script: string, words: readonly string[], stdout: string, variables = {}) =>
    prints(['sh', '-c', `set -eu\n${script}`, 'sh', ...words], stdout, variables);

  describe('PostgreSQL', () => {
    const secret = { PGPASSWORD: SQL.password };
    const host = `sql.${DOMAIN}`;

    test('by psql: queries, COPY both ways, an error', async () => {
      const script = `
        psql="psql -X -q -At -v ON_ERROR_STOP=1 -h $1 -p $2 -U $3 -d $4"
        $psql -c 'select host(inet_client_addr())'
        $psql -c 'create table lines (number integer, text text)'
        seq 1 20000 | awk '{ print $1 "\\t" "line " $1 }' | $psql -c 'copy lines from stdin'
        $psql -c 'select count(*), sum(number) from lines'
        $psql -c 'copy lines to stdout' | awk '{ sum += $1 } END { print NR, sum }'
        $psql -c 'select 1 / 0' 2>&1 || echo "code $?"`;
      const said = `${TARGET}\n20000|200010000\n20000 200010000\nERROR:  division by zero\ncode 1\n`;
      await shellPrints(script, [host, String(SQL.port), SQL.user, SQL.database], said, secret);
    });

    test('by a Node client: a pool, transactions, prepared statements, notifications', () =>
      prints(
        [process.execPath, stage.here(buildNode('sql.mjs')), host, String(SQL.port), SQL.user, SQL.database],
        'connections 10\nsum 4950\nheard sold out\nrows 10000 3200000\nerror 42703\n',
        secret,
      ));

    test('refuses a wrong password', async () => {
      const words = ['-h', host, '-U', SQL.user, '-d', SQL.database, '-c', 'select 1'];
      const outcome = await stage.exec(['psql', ...words], { variables: { PGPASSWORD: 'wrong' } });
      expect(outcome).toMatchObject({ code: 2, stderr: expect.stringContaining('password authentication failed') });
    });
  });

  test('Redis by redis-cli: single commands, and a pipeline of 20,000', async () => {
    const script = `
      cli="redis-cli -h $1 -p $2"
      $cli set tea 3 && $cli incr tea
      seq 1 20000 | sed 's/.*/SET key:& value:&\\r/' | $cli --pipe | tail -n 1
      $cli get key:20000 && $cli dbsize
      $cli client list | grep -c "addr=$3:"
      $cli -x set large <"$4" && $cli strlen large
      $cli --raw get large | head -c 2000001 | sha256sum | cut -d' ' -f1`;
    const said = `OK\n4\nerrors: 0, replies: 20000\nvalue:20000\n20001\n1\nOK\n2000001\n${body.sha256}\n`;
    await shellPrints(script, [`store.${DOMAIN}`, String(STORE_PORT), TARGET, body.file], said);
  });

  test('NATS by its client: subscriptions, requests, a large payload', () =>
    prints(
      [process.execPath, stage.here(buildNode('bus.mjs')), `nats://bus.${DOMAIN}:${BUS_PORT}`],
      'sum 125250\nanswers 1000\nlarge true\n',
    ));

  test('gRPC by grpc-js: calls and streams of every kind, status, deadline, cancelling', async () => {
    await prints(
      [process.execPath, stage.here(buildNode('calls.mjs')), 'ask', `calls.${DOMAIN}:5000`],
      `unary 100\nlarge true\nserver stream 5000 5000\nclient stream 1000000 from ${TARGET}\nboth ways 200\nstatus 8 no tea\nstatus 4\nstatus 1\n`,
    );
    await calls.line('cancelled');
  });

  test('ssh: a command, what it reads and writes, its exit code, and scp', async () => {
    const script = `
      set -- "$1" "$2" "$3" -F none -i "$4" -o UserKnownHostsFile="$5" -o BatchMode=yes -o ControlPath=none
      to=$1 port=$2 file=$3; shift 3
      ssh -p "$port" "$@" "$to" 'echo "$SSH_CONNECTION"' | cut -d' ' -f1,3,4
      ssh -p "$port" "$@" "$to" sha256sum <"$file" | cut -d' ' -f1
      ssh -p "$port" "$@" "$to" cat "$file" | sha256sum | cut -d' ' -f1
      ssh -p "$port" "$@" "$to" 'exit 7' || echo "code $?"
      scp -q -P "$port" "$@" "$to:$file" copied && sha256sum <copied | cut -d' ' -f1`;
    const words = [`root@shell.${DOMAIN}`, String(SHELL_PORT), body.file, shell.key, shell.knownHosts];
    const { sha256 } = body;
    await shellPrints(script, words, `${TARGET} ${BEYOND} ${SHELL_PORT}\n${sha256}\n${sha256}\ncode 7\n${sha256}\n`);
  });
});
