// Connections that are older than the session, the whole way: named to the user, left alone, and made to come again on demand.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness } from './exec-harness.ts';
import { type SteeredClient, startClient } from './steered-client.ts';

const ECHO = 9000;
const DEADLINE_MS = 60_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

let network: TargetNetwork;
let clients: SteeredClient[] = [];
let harness: ExecHarness;

beforeAll(async () => {
  if (!can.root.yes) return;
  network = await startNetwork();
  await network.serve(network.target, [process.execPath, fixture('hash-server.mjs'), '8080', `${ECHO}`]);
}, DEADLINE_MS);
afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});
afterEach(async () => {
  for (const one of clients) await one[Symbol.asyncDispose]();
  clients = [];
  await harness?.leavesNothing();
  harness?.close();
}, DEADLINE_MS);

describe.skipIf(!can.root.yes)(`connections that began before (${can.root.why})`, () => {
  test.each([
    ['mirror', 'nothing', false],
    ['mirror', '--renew-connections', true],
    ['steal', 'agent.flush_connections', true],
  ])(
    'are named when mode is %s, and closed when it is asked for: %s',
    async (mode, by, renews) => {
      harness = new ExecHarness();
      const older = await startClient(network, ECHO);
      clients.push(older);
      const config = path.join(harness.folder, 'mirrord.json');
      const feature = { network: { incoming: mode, outgoing: false, dns: false }, fs: 'local' };
      writeFileSync(
        config,
        JSON.stringify({ feature, agent: { flush_connections: by === 'agent.flush_connections' } }),
      );
      const flags = ['-t', `pid/${network.target.pid}`, '-f', config, ...(by.startsWith('--') ? [by] : [])];
      const run = harness.start(['exec', ...flags, '--', 'python3', fixture('hash_server.py'), `${ECHO}`]);
      const peer = `10.99.0.2:${older.port}`;
      await run.complained(
        `${mode === 'steal' ? 'stealing' : 'mirroring'} port ${ECHO} (waiting for 1 older connection to come again: ${peer})`,
      );
      if (renews) {
        await run.complained(`port ${ECHO}: closed 1 older connection, for its peer to come again: ${peer}`);
        const again = await startClient(network, ECHO);
        clients.push(again);
        await again.tell('text hello');
        await again.tell('end');
        await run.said(`over ${again.port} 6 `);
      } else {
        const said = await network.run(network.target, `ss -Htn state established sport = :${ECHO}`);
        expect(said).toContain(`[::ffff:10.99.0.2]:${older.port}`);
      }
      run.child.kill('SIGTERM');
      const { stderr } = await run.outcome;
      expect(stderr.includes(': closed 1 older connection')).toBe(renews);
    },
    DEADLINE_MS,
  );

  test(
    'are left alone where another session steals them, and that is said',
    async () => {
      const config = (incoming: object, folder: string) => {
        const file = path.join(folder, 'mirrord.json');
        const feature = { network: { incoming, outgoing: false, dns: false }, fs: 'local' };
        writeFileSync(file, JSON.stringify({ feature }));
        return ['-t', `pid/${network.target.pid}`, '-f', file];
      };
      const program = ['--', 'python3', fixture('hash_server.py'), `${ECHO}`];
      harness = new ExecHarness();
      const own = new ExecHarness();
      try {
        const steal = { mode: 'steal', http_filter: { header_filter: '^x-user: alice$' } };
        const thief = own.start(['exec', ...config(steal, own.folder), ...program]);
        await thief.complained(`stealing port ${ECHO}`);
        // No HTTP: it is passed on, and has a half at the stealer's and one at the target's own socket.
        const passed = await startClient(network, ECHO);
        clients.push(passed);
        await passed.tell('text hello');
        await passed.heard(6);
        const run = harness.start([
          'exec',
          ...config({ mode: 'mirror' }, harness.folder),
          '--renew-connections',
          ...program,
        ]);
        await run.complained(`(waiting for 1 older connection to come again: 10.99.0.2:${passed.port})`);
        await run.complained('1 older connection could not be closed: a session steals this port');
        await passed.tell('text again');
        await passed.heard(12);
        for (const one of [run, thief]) one.child.kill('SIGTERM');
        await Promise.all([run.outcome, thief.outcome]);
      } finally {
        own.close();
      }
    },
    DEADLINE_MS,
  );
});
