import { expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { ConnectionReceiver } from '../session.ts';
import { DelayedSession } from './delayed-session.ts';

const { FRAME_KIND_CONNECT, FRAME_KIND_CREDIT, FRAME_KIND_DATA, FRAME_KIND_HALF_CLOSE } = FrameKind;

function world(transmitMs: number, receiveMs: number, onReceived: () => void = () => undefined) {
  const sent: { kind: number; text: string; atMs: number }[] = [];
  const note = ({ kind, data }: Frame) => ({ kind, text: Buffer.from(data).toString(), atMs: performance.now() });
  let inner: ConnectionReceiver | undefined;
  const session = {
    lost: null,
    bufferedBytes: 0,
    openConnection: (receiver: ConnectionReceiver) => {
      inner = receiver;
      return 7;
    },
    closeConnection: () => undefined,
    send: (frame: Frame) => void sent.push(note(frame)),
    drained: (): Promise<void> => Promise.resolve(),
  };
  const delayed = new DelayedSession(session, { transmitMs, receiveMs });
  const received: typeof sent = [];
  const lost: AppError[] = [];
  let onEnd: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    onEnd = resolve;
  });
  delayed.openConnection({
    receive: (frame) => {
      received.push(note(frame));
      onReceived();
      if (frame.kind === FRAME_KIND_HALF_CLOSE) onEnd();
    },
    lost: (error) => {
      lost.push(error);
      onEnd();
    },
  });
  const arrive = (frame: Frame) => inner?.receive(frame);
  return { session, delayed, sent, received, lost, arrive, ended, lose: (error: AppError) => inner?.lost(error) };
}

const data = (text: string) => makeFrame(7, FRAME_KIND_DATA, undefined, Buffer.from(text));

test('what is sent comes later by its delay, in order, and waits do not add up; the dial and credit go at once', async () => {
  const { delayed, sent } = world(120, 0);
  const startMs = performance.now();
  delayed.send(makeFrame(7, FRAME_KIND_CONNECT));
  for (const text of ['a', 'b', 'c', 'd']) delayed.send(data(text));
  delayed.send(makeFrame(7, FRAME_KIND_HALF_CLOSE));
  delayed.send(makeFrame(7, FRAME_KIND_CREDIT));
  expect(sent.map(({ kind }) => kind)).toEqual([FRAME_KIND_CONNECT, FRAME_KIND_CREDIT]);
  await delayed.drained();
  expect(sent.slice(2).map(({ text }) => text)).toEqual(['a', 'b', 'c', 'd', '']);
  const [first = 0, last = 0] = [sent[2]?.atMs, sent.at(-1)?.atMs];
  expect(first - startMs).toBeGreaterThanOrEqual(119);
  expect(last - first).toBeLessThan(110);
});

test('what comes is kept as it was, although its memory is used again', async () => {
  const { arrive, received, ended } = world(0, 60);
  const startMs = performance.now();
  const frame = data('answer');
  arrive(frame);
  expect(frame.isUsedUp).toBe(true);
  frame.data.fill(0);
  arrive(makeFrame(7, FRAME_KIND_HALF_CLOSE));
  expect(received).toEqual([]);
  await ended;
  expect(received.map(({ text }) => text)).toEqual(['answer', '']);
  expect((received[0]?.atMs ?? 0) - startMs).toBeGreaterThanOrEqual(59);
});

test('nothing comes after the session is lost, or for a connection that is closed', async () => {
  const first = world(0, 20);
  first.arrive(data('late'));
  first.lose(new AppError('AGENT_LOST', 'gone'));
  const second = world(0, 20);
  second.arrive(data('late'));
  second.delayed.closeConnection(7);
  const third = world(0, 20);
  third.arrive(data('heard'));
  third.arrive(makeFrame(7, FRAME_KIND_HALF_CLOSE));
  await third.ended;
  expect([first, second, third].map(({ received }) => received.length)).toEqual([0, 0, 2]);
  expect(first.lost).toHaveLength(1);
});

test('what its receiver refuses ends the connection and no more', async () => {
  const refusal = new AppError('PROTOCOL_VIOLATION', 'more than was granted');
  const refusing = world(0, 20, () => {
    throw refusal;
  });
  refusing.arrive(data('too much'));
  refusing.arrive(data('more'));
  await refusing.ended;
  expect([refusing.received.length, refusing.lost]).toEqual([1, [refusal]]);
});

test('what was let in at once goes out as the session takes it', async () => {
  const { session, delayed, sent } = world(20, 0);
  let most = 0;
  const { send } = session;
  session.send = (frame) => {
    session.bufferedBytes += frame.data.length;
    most = Math.max(most, session.bufferedBytes);
    send(frame);
  };
  session.drained = async () => {
    session.bufferedBytes = 0;
  };
  const piece = 'x'.repeat(256 * 1024);
  for (let count = 0; count < 100; count++) delayed.send(data(piece));
  await delayed.drained();
  expect(sent).toHaveLength(100);
  expect(most).toBeLessThan(5 * 1024 * 1024);
});
