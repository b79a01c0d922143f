import { afterEach, expect, test, vi } from 'vitest';
import { AppError } from '#proto/errors.ts';
import type { Backend } from './backend.ts';
import { FollowedTarget, type FollowOptions, type Reached } from './follow-target.ts';
import { Log } from './log.ts';
import { Session } from './session.ts';
import { parseTarget } from './target.ts';
import { ScriptedAgent } from './testing/scripted-agent.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const followed: FollowedTarget[] = [];
afterEach(async () => {
  await Promise.all(followed.splice(0).map((one) => one.close()));
});

async function reached(pod: string, closed: string[], lastId?: number): Promise<Reached> {
  const agent = new ScriptedAgent();
  const session = await Session.open({
    dial: agent.dial,
    address: 'unix:/none',
    token: 't',
    target: { kind: 'pid', pid: 1 },
    wantsEnvironment: true,
    wantsFiles: true,
    deadlineMs: 1_000,
    ...(lastId === undefined ? {} : { lastId }),
    onEvent: () => {},
    onLost: () => {},
  });
  const backend: Backend = {
    address: pod,
    token: 't',
    prove: () => '',
    target: { kind: 'pid', pid: 1 },
    place: { id: `id of ${pod}`, text: `pod ${pod}` },
    isEmbedded: false,
    folder: null,
    close: async () => {
      closed.push(pod);
    },
    agentLog: async () => `log of ${pod}`,
  };
  return { backend, session };
}

async function follow(
  target: string,
  isWanted: boolean,
  open: FollowOptions['open'],
  endedBy: () => Promise<string | null> = async () => null,
) {
  const told: string[] = [];
  const closed: string[] = [];
  const { backend, session } = await reached('shop-1', closed);
  const one = new FollowedTarget(
    { backend: { ...backend, endedBy }, session },
    {
      config: { agent: { follow_target: isWanted } } as FollowOptions['config'],
      target: parseTarget(target),
      progress: { warn: (text) => told.push(`warning: ${text}`), failure: (text) => told.push(text) },
      log: new Log({ env: {} }),
      open,
    },
  );
  followed.push(one);
  return { one, told, closed };
}

const never = () => Promise.reject(new AppError('BUG', 'nobody asked for it'));

test('without being asked it follows nothing', async () => {
  const { one, told } = await follow('deployment/shop', false, never);
  expect(one.gone('its process has ended')).toBe(false);
  expect(told).toEqual([]);
});

test.each(['pod/shop-1', 'pid/4711', 'container/shop'])(
  '%s has no successor: that it is asked for is told',
  async (target) => {
    const { one, told } = await follow(target, true, never);
    expect(told).toEqual([expect.stringContaining('agent.follow_target has no effect')]);
    expect(one.gone('its process has ended')).toBe(false);
  },
);

test('the next pod is looked for until there is one that is not the former, whose agent is put away', async () => {
  const excepted: (string | null)[] = [];
  const closedLater: string[] = [];
  const { one, told, closed } = await follow('deployment/shop', true, async (lastId, except) => {
    excepted.push(except);
    if (excepted.length === 1) throw new AppError('TARGET_GONE', 'no pod runs');
    return reached('shop-2', closedLater, lastId);
  });
  expect(one.gone('its process has ended')).toBe(true);
  await vi.waitUntil(() => told.length === 2, { timeout: 50_000, interval: 5 });
  expect(told[0]).toContain('the target is gone (its process has ended)');
  expect(told[1]).toContain('the session goes on with pod shop-2');
  expect(excepted).toEqual(['id of shop-1', 'id of shop-1']);
  expect(closed).toEqual(['shop-1']);
  expect(await one.agentLog()).toBe('log of shop-2');
  await one.close();
  expect(closedLater).toEqual(['shop-2']);
});

test('a refusal that will not pass ends the search', async () => {
  const { one, told } = await follow('deployment/shop', true, async () => {
    throw new AppError('NOT_PERMITTED', 'you may not create jobs.batch in namespace shop');
  });
  one.gone('its agent was lost');
  await vi.waitUntil(() => told.length === 2, { timeout: 50_000, interval: 5 });
  expect(told[1]).toBe(
    'there is no next pod: you may not create jobs.batch in namespace shop; files of the target answer EIO',
  );
});

test('a session that somebody has ended is over: no next pod is looked for', async () => {
  const { one, told, closed } = await follow('deployment/shop', true, never, async () => 'bob@laptop');
  expect(one.gone('the agent has ended')).toBe(true);
  await vi.waitUntil(() => told.length === 1, { timeout: 50_000, interval: 5 });
  expect(told).toEqual([
    'the session is over: it was ended by bob@laptop, with mirrord session stop; files of the target answer EIO',
  ]);
  await expect(one.session.request({ $case: 'statfs', value: { path: Buffer.from('/') } } as never)).rejects.toThrow();
  expect(closed).toEqual([]);
});
