import { afterEach, expect, test, vi } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { type MovingOptions, MovingSession } from './moving-session.ts';
import { type FileOperation, Session } from './session.ts';
import { ScriptedAgent } from './testing/scripted-agent.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const OPEN: FileOperation = {
  $case: 'open',
  value: { path: Buffer.from('/a'), flags: 0, mode: 0, inlineBytes: 0 },
};
const read = (handle: number): FileOperation => ({ $case: 'read', value: { handle, offset: 0n, length: 1 } });
const close = (handle: number): FileOperation => ({ $case: 'close', value: { handle } });
const statOf = (handle: number): FileOperation => ({
  $case: 'stat',
  value: { of: { $case: 'handle', value: handle }, noFollow: false },
});

let opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.map((session) => session.close()));
  opened = [];
});

/** Opens files by the numbers 1, 2, … of its own, as every new agent does. */
function agentOf(): ScriptedAgent {
  let handles = 0;
  return new ScriptedAgent((operation) => {
    if (operation.$case !== 'open') return {};
    handles += 1;
    return { result: { $case: 'opened', value: { handle: handles, stat: undefined } } };
  });
}

async function sessionWith(agent: ScriptedAgent, lastId?: number): Promise<Session> {
  return Session.open({
    dial: agent.dial,
    address: 'unix:/none',
    token: 't',
    target: { kind: 'pid', pid: 4711 },
    wantsEnvironment: true,
    wantsFiles: true,
    wantsNetwork: true,
    deadlineMs: 1_000,
    ...(lastId === undefined ? {} : { lastId }),
    onEvent: () => {},
    onLost: () => {},
  });
}

async function moving(changes: Partial<MovingOptions> = {}) {
  const agents = [agentOf(), agentOf()] as const;
  const told: string[] = [];
  const session = new MovingSession(await sessionWith(agents[0]), {
    next: (lastId) => sessionWith(agents[1], lastId),
    onMoving: (reason) => told.push(`moving: ${reason}`),
    onMoved: () => told.push('moved'),
    onStuck: (error) => told.push(`stuck: ${error.message}`),
    ...changes,
  });
  opened.push(session);
  return { session, agents, told };
}

const moved = (told: string[]) => vi.waitUntil(() => told.includes('moved'), { timeout: 50_000, interval: 1 });

async function openHandle(session: MovingSession): Promise<number> {
  const { reply } = await session.request(OPEN);
  return reply.result?.$case === 'opened' ? reply.result.value.handle : 0;
}

test('files are those of the target that is there, and a handle of the one before meets no file of the next', async () => {
  const { session, agents, told } = await moving();
  const old = await openHandle(session);
  await session.request(read(old));
  session.move('it ended');
  await moved(told);
  const young = await openHandle(session);
  expect(young).not.toBe(old);
  for (const operation of [read(old), statOf(old)]) {
    await expect(session.request(operation)).rejects.toMatchObject({ code: 'TARGET_GONE', errno: ERRNO.EIO });
  }
  session.tell(close(old));
  await session.request(read(young));
  await session.request(statOf(young));
  expect(agents[1].asked).toEqual([OPEN, read(1), statOf(1)]);
  expect(told).toEqual(['moving: it ended', 'moved']);
});

test('a path that is asked for in between waits for the next target', async () => {
  let go: () => void = () => {};
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const next = agentOf();
  const { session, told } = await moving({
    next: async (lastId) => {
      await gate;
      return sessionWith(next, lastId);
    },
  });
  session.move('it ended');
  expect(session.lost).toMatchObject({ code: 'TARGET_GONE' });
  const answer = session.request(OPEN);
  go();
  await answer;
  expect(next.asked).toEqual([OPEN]);
  expect(session.lost).toBeNull();
  expect(told).toEqual(['moving: it ended', 'moved']);
});

test('connections of the target before end, and what is sent for them reaches nobody', async () => {
  const { session, agents, told } = await moving();
  const lost: AppError[] = [];
  const receiver = { receive: () => undefined, lost: (error: AppError) => lost.push(error) };
  const old = session.openConnection(receiver);
  session.move('it ended');
  await moved(told);
  expect(lost).toHaveLength(1);
  const frames: Frame[] = [];
  agents[1].onConnection = (frame) => frames.push(frame);
  const young = session.openConnection(receiver);
  expect(young).toBeGreaterThan(old);
  session.send(makeFrame(old, FrameKind.FRAME_KIND_DATA, undefined, Buffer.from('late')));
  session.closeConnection(old);
  session.send(makeFrame(young, FrameKind.FRAME_KIND_DATA, undefined, Buffer.from('new')));
  await vi.waitUntil(() => frames.length > 0, { timeout: 50_000, interval: 1 });
  expect(frames.map(({ id, data }) => [id, data.toString()])).toEqual([[young, 'new']]);
});

test('connections that arrive come from the next target too, and whoever asked is told of it', async () => {
  const { session, agents, told } = await moving();
  const arrived: number[] = [];
  session.arrivals = (frame) => {
    arrived.push(frame.id);
  };
  let moves = 0;
  session.whenMoved(() => {
    moves += 1;
  });
  session.move('it ended');
  session.move('and its agent');
  await moved(told);
  agents[1].stream.send(makeFrame(2, FrameKind.FRAME_KIND_ARRIVED));
  await vi.waitUntil(() => arrived.length > 0, { timeout: 50_000, interval: 1 });
  expect([arrived, moves]).toEqual([[2], 1]);
});

test('where there is no next target the session is over, and says why', async () => {
  const { session, told } = await moving({
    next: () => Promise.reject(new AppError('TARGET_NOT_FOUND', 'there is no deployment/shop')),
  });
  session.move('it ended');
  await expect(session.request(OPEN)).rejects.toMatchObject({ code: 'TARGET_NOT_FOUND' });
  expect(told).toEqual(['moving: it ended', 'stuck: there is no deployment/shop']);
  expect(session.lost).toMatchObject({ code: 'TARGET_NOT_FOUND' });
});

test('a session that is closed looks for no other target', async () => {
  let aborted = false;
  const { session, told } = await moving({
    next: (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          aborted = true;
          reject(new AppError('CANCELLED', 'given up'));
        });
      }),
  });
  session.move('it ended');
  await session.close();
  expect(aborted).toBe(true);
  session.move('again');
  expect(told).toEqual(['moving: it ended']);
});
