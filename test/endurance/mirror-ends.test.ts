// How connections end: the same program at the target and under exec says the same of each.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness, until } from '../integration/exec-harness.ts';
import { lossesIn } from './mirror-stage.ts';

const PORT = 9100;
const DEADLINE_MS = 60_000;
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

let network: TargetNetwork | undefined;
let harness: ExecHarness | undefined;

beforeEach(async () => {
  if (can.root.yes) network = await startNetwork();
});
afterEach(async () => {
  harness?.close();
  harness = undefined;
  await network?.[Symbol.asyncDispose]();
  network = undefined;
}, DEADLINE_MS);

describe.skipIf(!can.root.yes)(`a mirrored connection (${can.root.why})`, () => {
  test.each([
    ['at once', '0'],
    ['late', '0.5'],
  ])(
    'is reset, or ends, behind its last byte as the original is: %s read',
    async (_, pause) => {
      const { target, beyond, serve, run } = network as TargetNetwork;
      const server: Peer = await serve(target, ['python3', fixture('ends_heard.py'), `${PORT}`]);
      harness = new ExecHarness();
      const config = path.join(harness.folder, 'mirrord.json');
      const feature = { network: { incoming: 'mirror', outgoing: false, dns: false }, fs: 'local' };
      writeFileSync(config, JSON.stringify({ feature }));
      const program = ['python3', fixture('ends_heard.py'), `${PORT}`, pause];
      const local = harness.start(['exec', '-t', `pid/${target.pid}`, '-f', config, '--', ...program]);
      await local.complained(`mirroring port ${PORT}`);
      await run(beyond, `python3 ${fixture('ends_sent.py')} 10.99.0.1 ${PORT}`);
      await run(beyond, `python3 ${fixture('ends_sent.py')} fd99::1 ${PORT}`);
      const truth: string[] = [];
      while (truth.length < 12) truth.push(await server.line('went'));
      const heard = () =>
        local
          .stdout()
          .split('\n')
          .filter((line) => line.startsWith('went'));
      await until(
        () => `twelve have ended here: ${heard()}`,
        () => heard().length === 12,
        30_000,
      );
      expect(heard().sort()).toEqual(truth.sort());
      expect(truth.filter((line) => line.endsWith('ECONNRESET'))).toHaveLength(6);
      process.kill(local.pid, 'SIGTERM');
      expect(lossesIn((await local.outcome).stderr)).toEqual([]);
    },
    DEADLINE_MS,
  );

  test(
    'of HTTP ends when its peer gives up a target that does not answer',
    async () => {
      const { target, beyond, serve, run } = network as TargetNetwork;
      const server: Peer = await serve(target, ['python3', fixture('ends_heard.py'), `${PORT}`]);
      harness = new ExecHarness();
      const config = path.join(harness.folder, 'mirrord.json');
      const feature = { network: { incoming: 'mirror', outgoing: false, dns: false }, fs: 'local' };
      writeFileSync(config, JSON.stringify({ feature }));
      const program = ['python3', fixture('ends_heard.py'), `${PORT}`];
      const local = harness.start(['exec', '-t', `pid/${target.pid}`, '-f', config, '--', ...program]);
      await local.complained(`mirroring port ${PORT}`);
      const givingUp = run(beyond, `curl -sS --max-time 1 http://10.99.0.1:${PORT}/`);
      await expect(givingUp).rejects.toThrow('timed out');
      const truth = await server.line('went');
      const endedMs = performance.now();
      await local.said(truth);
      // Less than an answer is waited for, which nobody gives.
      expect(performance.now() - endedMs).toBeLessThan(5_000);
      process.kill(local.pid, 'SIGTERM');
      expect(lossesIn((await local.outcome).stderr)).toEqual([]);
    },
    DEADLINE_MS,
  );
});
