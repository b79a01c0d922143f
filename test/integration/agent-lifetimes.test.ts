// What many sessions leave in an agent and its fs-env: nothing. MIRRORD_TEST_SESSIONS makes it longer.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type Agent, openSession, startAgent } from './agent-harness.ts';

const SESSIONS = Number(process.env['MIRRORD_TEST_SESSIONS'] ?? 400);
const WARM_UP = 100;
const AT_ONCE = 10;
/** Node's own, and of fs-env's pool as many as all sessions can use at once, however many came before. */
const MOST_THREADS = 20 + AT_ONCE * 8;

let agent: Agent;
beforeAll(async () => {
  agent = await startAgent(path.join(import.meta.dirname, '../../dist'), { MIRRORD_LOG_LEVEL: 'warn' });
});
afterAll(async () => {
  expect(await agent.stop()).toBe(0);
});

function held(pid: number): { descriptors: number; threads: number; residentMib: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(status)?.[1]);
  return {
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    threads: field('Threads'),
    residentMib: field('VmRSS') / 1024,
  };
}

/** One in three is cut, one in three leaves a file open, all ask for something. */
async function session(index: number): Promise<void> {
  const opened = await openSession(agent);
  await opened.next();
  const kept = { path: Buffer.from('/proc/self/maps'), flags: 0, mode: 0, inlineBytes: 0 };
  if (index % 3 !== 1) {
    opened.request(1, { $case: 'open', value: kept });
    if (index % 3 === 0) await opened.next();
  }
  if (index % 3 === 2) opened.stream.destroy();
  else await opened.close();
}

async function sessions(count: number): Promise<void> {
  for (let index = 0; index < count; index += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, offset) => session(index + offset)));
  }
}

test.skipIf(!can.root.yes)(
  `${SESSIONS} sessions leave no descriptor, thread or memory behind (${can.root.why})`,
  async () => {
    const pids = [agent.pid, agent.children().get('fs-env') as number];
    await sessions(WARM_UP);
    const before = pids.map(held);
    await sessions(SESSIONS);
    for (const [index, pid] of pids.entries()) {
      const was = before[index] as ReturnType<typeof held>;
      // Refused and cut connections are closed within a second.
      await expect.poll(() => held(pid).descriptors, { timeout: 10_000 }).toBeLessThanOrEqual(was.descriptors + 2);
      expect(held(pid).threads).toBeLessThanOrEqual(MOST_THREADS);
      expect(held(pid).residentMib - was.residentMib).toBeLessThan(80);
    }
  },
  120_000,
);
