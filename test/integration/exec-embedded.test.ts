import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness, until } from './exec-harness.ts';

const SECRET = 'secret-of-the-target-5c1f';
/** Reads a file of the target for each line of its input. */
const READS = 'echo ready; while read -r word; do echo "$word $(cat /srv/shop/prices)"; done';

describe.skipIf(!can.root.yes)(`the agent that a run starts for itself (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;
  let words: string[];

  beforeAll(async () => {
    target = await startTarget({
      env: { SHOP_PASSWORD: SECRET },
      files: { '/srv/shop/prices': 'tea 3.2\n', '/srv/shop/password': SECRET },
    });
  });

  beforeEach(() => {
    harness = new ExecHarness();
    words = ['exec', '-t', `pid/${target.pid}`, '--progress', 'off'];
  });

  afterEach(async () => {
    try {
      await harness.leavesNothing();
    } finally {
      harness.close();
    }
  });

  afterAll(async () => {
    await target.stop();
  });

  const folders = () => readdirSync(harness.folder).filter((name) => name.startsWith('mirrord-run-'));

  test('what a run left whose every process was killed is swept by the next', async () => {
    const run = harness.start([...words, '--', 'sh', '-c', READS]);
    await run.said('ready');
    harness.killAll();
    await run.outcome;
    await until('all have ended', () => harness.processes().length === 0);
    const [left] = folders();
    expect(left).toBeDefined();
    const next = harness.start([...words, '--', 'sh', '-c', READS]);
    await next.said('ready');
    expect(folders()).not.toContain(left);
    next.child.stdin?.end();
    expect((await next.outcome).code).toBe(0);
  });

  test('two runs at once on one target do not know of each other', async () => {
    const runs = [1, 2].map(() => harness.start([...words, '--', 'sh', '-c', READS]));
    const [first, second] = runs as [(typeof runs)[0], (typeof runs)[0]];
    await Promise.all(runs.map((run) => run.said('ready')));
    expect(folders()).toHaveLength(2);
    for (const run of runs) run.child.stdin?.write('one\n');
    await Promise.all(runs.map((run) => run.said('one tea 3.2')));
    first.child.stdin?.end();
    expect((await first.outcome).code).toBe(0);
    second.child.stdin?.write('two\n');
    await second.said('two tea 3.2');
    second.child.stdin?.end();
    expect((await second.outcome).code).toBe(0);
  });

  test('--verbose tells no value, no content, no key and no token', async () => {
    const command = 'echo ready; cat /srv/shop/password >/dev/null; test -n "$SHOP_PASSWORD"; read -r word';
    const run = harness.start([...words, '--verbose', '--', 'sh', '-c', command]);
    await run.said('ready');
    const key = readFileSync(path.join(harness.folder, folders()[0] ?? '', 'key'), 'utf8').trim();
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    run.child.stdin?.end();
    const { stderr } = await run.outcome;
    expect(stderr).toContain('"supervisor ready"');
    expect(stderr).toContain('"session ends"');
    for (const secret of [SECRET, key, Buffer.from(key, 'hex').toString('base64')])
      expect(stderr).not.toContain(secret);
    // A token: two parts in base64url, the first a JSON object or a session's name.
    expect(stderr).not.toMatch(/Bearer|[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{32,}/);
  });
});
