import { afterEach, expect, test, vi } from 'vitest';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { SessionEvent } from '#proto/gen/v1/session.ts';
import { type FileOperation, Session, type SessionOptions } from './session.ts';
import { ScriptedAgent } from './testing/scripted-agent.ts';

const STAT: FileOperation = {
  $case: 'stat',
  value: { of: { $case: 'path', value: Buffer.from('/a') }, noFollow: false },
};
const OPEN: FileOperation = {
  $case: 'open',
  value: { path: Buffer.from('/a'), flags: 0, mode: 0, inlineBytes: 0 },
};

let sessions: Session[] = [];
let lost: AppError[] = [];
let events: string[] = [];

afterEach(async () => {
  vi.useRealTimers();
  await Promise.all(sessions.map((session) => session.close()));
  sessions = [];
  lost = [];
  events = [];
});

async function open(agent: ScriptedAgent, changes: Partial<SessionOptions> = {}): Promise<Session> {
  const session = await Session.open({
    dial: agent.dial,
    address: 'unix:/none',
    token: 't',
    target: { kind: 'pid', pid: 4711 },
    wantsEnvironment: true,
    wantsFiles: true,
    deadlineMs: 1_000,
    onEvent: (event) => events.push(event.$case),
    onLost: (error) => lost.push(error),
    ...changes,
  });
  sessions.push(session);
  return session;
}

async function refusal(promise: Promise<unknown>): Promise<AppError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

function until(isTrue: () => boolean): Promise<void> {
  return vi.waitUntil(isTrue, { timeout: 30_000, interval: 1 }).then(() => {});
}

test('a session opens with what it asks for and knows the facts of its target', async () => {
  const agent = new ScriptedAgent();
  const session = await open(agent, { target: { kind: 'container', name: 'shop' } });
  expect(agent.opening).toMatchObject({
    protocolVersion: 1,
    target: { target: { $case: 'container', value: 'shop' } },
    wantsEnvironment: true,
    wantsFiles: true,
  });
  expect(session.facts.pid).toBe(4711);
});

test('an agent that refuses the target says why', async () => {
  const agent = new ScriptedAgent();
  const detail = toErrorDetail(new AppError('TARGET_NOT_FOUND', 'no process 4711'));
  agent.answerOpening = () => makeFrame(0, FrameKind.FRAME_KIND_SESSION_ERROR, ErrorDetail.encode(detail).finish());
  expect(await refusal(open(agent))).toMatchObject({ code: 'TARGET_NOT_FOUND', message: 'no process 4711' });
});

test('an agent that does not answer the opening is given up at the deadline', async () => {
  const agent = new ScriptedAgent();
  agent.answerOpening = null;
  expect((await refusal(open(agent, { deadlineMs: 20 }))).code).toBe('DEADLINE_EXCEEDED');
});

test('answers find their requests in whatever order they come', async () => {
  const agent = new ScriptedAgent(() => null);
  const session = await open(agent);
  const first = session.request(STAT);
  const second = session.request(STAT);
  await until(() => agent.asked.length === 2);
  const ids = agent.frames.filter(({ kind }) => kind === FrameKind.FRAME_KIND_FILE_REQUEST).map(({ id }) => id);
  expect(ids.every((id) => id % 2 === 1)).toBe(true);
  agent.answer(ids[1] ?? 0, { errno: 2 });
  agent.answer(ids[0] ?? 0, { errno: 1 });
  expect((await second).reply.errno).toBe(2);
  expect((await first).reply.errno).toBe(1);
});

test('what the target says is an answer; what the agent says is an error', async () => {
  const agent = new ScriptedAgent(() => ({ errno: 13 }));
  const session = await open(agent);
  expect((await session.request(STAT)).reply.errno).toBe(13);
  agent.script = (_operation, _data, id) => {
    const detail = toErrorDetail(new AppError('LIMIT_REACHED', 'too many handles'));
    agent.stream.send(makeFrame(id, FrameKind.FRAME_KIND_ERROR, ErrorDetail.encode(detail).finish()));
    return null;
  };
  expect(await refusal(session.request(STAT))).toMatchObject({ code: 'LIMIT_REACHED', localErrno: 24 });
});

test('when the agent is lost, what waits and what comes later fails with EIO at once', async () => {
  const agent = new ScriptedAgent(() => null);
  const session = await open(agent);
  const waiting = session.request(STAT);
  await until(() => agent.asked.length === 1);
  agent.vanish();
  expect(await refusal(waiting)).toMatchObject({ code: 'AGENT_LOST', localErrno: 5 });
  expect(await refusal(session.request(STAT))).toMatchObject({ code: 'AGENT_LOST', localErrno: 5 });
  expect(lost.map(({ code }) => code)).toEqual(['AGENT_LOST']);
});

test('a request that is not answered ends at its deadline and says what it waited for', async () => {
  const agent = new ScriptedAgent(() => null);
  const overdue: string[] = [];
  const session = await open(agent, { requestDeadlineMs: 1, onOverdue: (what) => overdue.push(what) });
  let isPipeSettled = false;
  const settle = () => {
    isPipeSettled = true;
  };
  session.request(OPEN, { hasNoDeadline: true }).then(settle, settle);
  const error = await refusal(session.request(STAT));
  expect(error).toMatchObject({ code: 'DEADLINE_EXCEEDED', localErrno: 5 });
  expect(error.message).toContain('stat');
  expect(overdue).toEqual([error.message]);
  expect(isPipeSettled).toBe(false);
  await until(() => agent.frames.some(({ kind }) => kind === FrameKind.FRAME_KIND_CANCEL));
});

test('a file that opens after nobody waits for it any more is closed', async () => {
  const agent = new ScriptedAgent(() => null);
  const session = await open(agent);
  const controller = new AbortController();
  const opening = session.request(OPEN, { signal: controller.signal });
  await until(() => agent.asked.length === 1);
  controller.abort();
  expect((await refusal(opening)).code).toBe('CANCELLED');
  const request = agent.frames.find(({ kind }) => kind === FrameKind.FRAME_KIND_FILE_REQUEST);
  agent.answer(request?.id ?? 0, { result: { $case: 'opened', value: { handle: 9, stat: undefined } } });
  await until(() => agent.asked.length === 2);
  expect(agent.asked[1]).toEqual({ $case: 'close', value: { handle: 9 } });
});

test('no more requests are in flight than the agent grants', async () => {
  const ids: number[] = [];
  const agent = new ScriptedAgent((_operation, _data, id) => {
    ids.push(id);
    return null;
  });
  agent.limits.requests = 2;
  const session = await open(agent);
  const all = [1, 2, 3, 4].map(() => session.request(STAT));
  await until(() => ids.length === 2);
  agent.answer(ids[0] ?? 0, {});
  await until(() => ids.length === 3);
  agent.answer(ids[1] ?? 0, {});
  await until(() => ids.length === 4);
  agent.answer(ids[2] ?? 0, {});
  agent.answer(ids[3] ?? 0, {});
  await Promise.all(all);
});

test('the end of the target is told', async () => {
  const agent = new ScriptedAgent();
  await open(agent);
  const event = SessionEvent.encode({ event: { $case: 'targetEnded', value: { pid: 4711 } } }).finish();
  agent.stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_EVENT, event));
  await until(() => events.length === 1);
  expect(events).toEqual(['targetEnded']);
});

test('a session we close is not a lost one', async () => {
  const agent = new ScriptedAgent();
  const session = await open(agent);
  await session.close();
  await session.close();
  expect(lost).toEqual([]);
  expect((await refusal(session.request(STAT))).code).toBe('AGENT_LOST');
});

test('an answer to nothing ends the session as a violation', async () => {
  const agent = new ScriptedAgent();
  await open(agent);
  agent.answer(77, {});
  await until(() => lost.length === 1);
  expect(lost[0]?.code).toBe('PROTOCOL_VIOLATION');
});

test('time in which we were stopped is nobody’s delay', async () => {
  const agent = new ScriptedAgent(() => null);
  const session = await open(agent, { requestDeadlineMs: 30_000 });
  const request = session.request(STAT);
  await until(() => agent.asked.length === 1);
  const clock = await open(new ScriptedAgent(() => null), { requestDeadlineMs: 1 });
  // As after Ctrl-Z and fg an hour later: the clock has gone on, the timers have not.
  const now = performance.now.bind(performance);
  vi.spyOn(performance, 'now').mockImplementation(() => now() + 3_600_000);
  // Deadlines have been looked at when this one has passed.
  await refusal(clock.request(STAT));
  agent.answer(agent.frames.find(({ kind }) => kind === FrameKind.FRAME_KIND_FILE_REQUEST)?.id ?? 0, {});
  expect((await request).reply.errno).toBe(0);
  expect(lost).toEqual([]);
});

test('a stop is announced, and over when the session resumes', async () => {
  const agent = new ScriptedAgent();
  const session = await open(agent);
  await session.suspend();
  const request = session.request(STAT);
  await new Promise((resolve) => setImmediate(resolve));
  expect(agent.asked).toEqual([]);
  session.resume();
  await request;
  expect(agent.asked).toHaveLength(1);
});
