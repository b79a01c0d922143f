// kill -9 of any process of a run at any moment: the local process never hangs, and nothing is left. The order of events is
// made from a seed, which a failure tells; MIRRORD_CHAOS_SEED repeats it, MIRRORD_CHAOS_RUNS makes more of them.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness, until } from './exec-harness.ts';

const SEED = Number(process.env['MIRRORD_CHAOS_SEED'] ?? Date.now() % 1_000_000);
const RUNS = Number(process.env['MIRRORD_CHAOS_RUNS'] ?? 24);
const LANES = 2;
/** Start, work and end of an undisturbed run. */
const LATEST_KILL_MS = 1_600;
const GONE_WITHIN_MS = 15_000;
/** Ends by itself, whatever its reads answer. */
const WORK =
  'n=0; while [ $n -lt 60 ]; do cat /srv/shop/prices /srv/shop/big; n=$((n+1)); done >/dev/null 2>&1; echo done';

/** Small, fast, repeatable (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Every process of the harness's runs: by its environment, or by where it stands (nats-server has no variable of ours). */
function processesOf(folder: string): { pid: number; command: string }[] {
  const look = <T>(act: () => T, otherwise: T): T => {
    try {
      return act();
    } catch {
      return otherwise;
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .filter(
      (pid) =>
        look(() => readFileSync(`/proc/${pid}/environ`, 'latin1'), '').includes(folder) ||
        look(() => readlinkSync(`/proc/${pid}/cwd`), '').startsWith(folder),
    )
    .map((pid) => ({
      pid: Number(pid),
      command: look(() => readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim(), ''),
    }))
    .filter(({ command }) => command !== '');
}

describe.skipIf(!can.root.yes)(`chaos (${can.root.why})`, () => {
  let target: RunningTarget;
  beforeAll(async () => {
    target = await startTarget({
      files: { '/srv/shop/prices': 'tea 3.2\n', '/srv/shop/big': Buffer.alloc(1 << 20, 1) },
    });
  });
  afterAll(async () => {
    await target.stop();
  });

  const words = () => ['exec', '-t', `pid/${target.pid}`, '--progress', 'off', '--', 'sh', '-c', WORK];

  async function disturbedRun(harness: ExecHarness, next: () => number): Promise<void> {
    const killed: string[] = [];
    const kills = next() < 0.3 ? 2 : 1;
    const run = harness.start(words());
    run.child.stdin?.end();
    const told = run.outcome.catch(() => null);
    for (let count = 0; count < kills; count += 1) {
      await delay((next() * LATEST_KILL_MS) / kills);
      const there = processesOf(harness.folder).filter(({ command }) => !command.startsWith('cat '));
      const victim = there[Math.floor(next() * there.length)];
      if (victim === undefined) continue;
      killed.push(victim.command.slice(0, 60));
      try {
        process.kill(victim.pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    await until(
      () => `gone after kill -9 of ${JSON.stringify(killed)}: ${JSON.stringify(processesOf(harness.folder))}`,
      () => processesOf(harness.folder).length === 0,
      GONE_WITHIN_MS,
    );
    await told;
  }

  test(
    `whatever is killed, nothing hangs and nothing is left (MIRRORD_CHAOS_SEED=${SEED})`,
    async () => {
      const lanes = Array.from({ length: LANES }, async (_, lane) => {
        const next = random(SEED + lane);
        const harness = new ExecHarness();
        try {
          for (let index = lane; index < RUNS; index += LANES) await disturbedRun(harness, next);
          // Where the client and the shell around the agent were both killed, the next run puts the folder away.
          const { code, stdout } = await harness.run(words());
          expect([code, stdout]).toEqual([0, 'done\n']);
          await harness.leavesNothing();
        } finally {
          harness.close();
        }
      });
      await Promise.all(lanes);
    },
    60_000 + RUNS * 5_000,
  );
});
