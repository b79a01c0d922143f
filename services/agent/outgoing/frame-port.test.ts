import { MessageChannel } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { FramePort } from './frame-port.ts';

const WINDOW_BYTES = 256 * 1024;

function openPair() {
  const { port1, port2 } = new MessageChannel();
  const received: Frame[] = [];
  let costBytes = 0;
  let wake: () => void = () => undefined;
  const sender = new FramePort({
    port: port1,
    windowBytes: WINDOW_BYTES,
    onFrames: () => wake(),
    onClosed: () => wake(),
  });
  const receiver = new FramePort({
    port: port2,
    windowBytes: null,
    onFrames: (frames, cost) => {
      received.push(...frames);
      costBytes += cost;
      wake();
    },
    onClosed: () => wake(),
  });
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const takeCost = () => {
    const cost = costBytes;
    costBytes = 0;
    return cost;
  };
  return { sender, receiver, received, until, takeCost, close: () => sender.close() };
}

const data = (id: number, size: number, fill = id) =>
  makeFrame(id, FrameKind.FRAME_KIND_DATA, NO_BYTES, Buffer.alloc(size, fill & 0xff));

test('frames of every size come in order and whole', async () => {
  const { sender, received, until, close } = openPair();
  const sizes = [0, 1, 3_000, 5_000, 70_000, 2, 9_000];
  for (const [at, size] of sizes.entries()) sender.send(data(1, size, at + 1));
  await until(() => received.length === sizes.length);
  expect(received.map(({ id }) => id)).toEqual(sizes.map(() => 1));
  expect(received.every((frame, at) => Buffer.from(frame.data).equals(Buffer.alloc(sizes[at] ?? 0, at + 1)))).toBe(
    true,
  );
  close();
});

test('what is sent may be overwritten at once', async () => {
  const { sender, received, until, close } = openPair();
  const buffer = Buffer.from('first');
  sender.send(makeFrame(1, FrameKind.FRAME_KIND_DATA, NO_BYTES, buffer));
  buffer.write('other');
  await until(() => received.length === 1);
  expect(Buffer.from(received[0]?.data ?? []).toString()).toBe('first');
  close();
});

test('beyond the window frames wait, credit overtakes them, and a grant lets them go', async () => {
  const { sender, receiver, received, until, takeCost, close } = openPair();
  for (let count = 0; count < 10; count += 1) sender.send(data(1, 60_000));
  sender.send(makeFrame(3, FrameKind.FRAME_KIND_CREDIT, Buffer.from([8, 1])));
  await until(() => received.some(({ kind }) => kind === FrameKind.FRAME_KIND_CREDIT));
  expect(sender.isFull).toBe(true);
  expect(received.filter(({ id }) => id === 1)).toHaveLength(5);
  receiver.grant(takeCost());
  await until(() => received.length === 11);
  close();
});

test('behind a full window so much may wait and no more, and a grant makes room', async () => {
  const { sender, receiver, received, until, takeCost, close } = openPair();
  let sent = 0;
  for (; sender.mayWait; sent += 1) sender.send(data(1, 60_000));
  expect(sent * 60_000).toBeGreaterThan(4_000_000);
  expect(sent * 60_000).toBeLessThan(5_000_000);
  await until(() => received.length === 5);
  while (received.length < sent) {
    const before = received.length;
    receiver.grant(takeCost());
    await until(() => received.length > before);
  }
  expect(sender.mayWait).toBe(true);
  close();
});

test('paused producers come back in their order when there is room', async () => {
  const { sender, receiver, until, takeCost, received, close } = openPair();
  for (let count = 0; count < 5; count += 1) sender.send(data(1, 60_000));
  await until(() => received.length === 5);
  const order: number[] = [];
  for (let at = 0; at < 20; at += 1) sender.whenWritable(() => order.push(at));
  receiver.grant(takeCost());
  while (order.length < 20) await new Promise((resolve) => setImmediate(resolve));
  expect(order).toEqual(Array.from({ length: 20 }, (_, at) => at));
  close();
});

test('what is small overtakes the bulk of others, never what its own connection has waiting', async () => {
  const { sender, receiver, received, until, takeCost, close } = openPair();
  for (let count = 0; count < 20; count += 1) sender.send(data(1, 64 * 1024));
  sender.send(data(3, 10));
  sender.send(data(1, 10));
  await until(() => received.some(({ id }) => id === 3));
  expect(received.filter(({ id }) => id === 1).length).toBeLessThan(20);
  while (received.length < 22) {
    const before = received.length;
    receiver.grant(takeCost());
    await until(() => received.length > before || received.length === 22);
  }
  expect(received.filter(({ id }) => id === 1).at(-1)?.data.length).toBe(10);
  close();
});

test('more that overtakes than one batch holds goes in several', async () => {
  const { sender, received, until, close } = openPair();
  for (let count = 0; count < 6; count += 1) sender.send(data(1, 60_000));
  for (let id = 3; id < 400; id += 2) sender.send(data(id, 4_000));
  await until(() => received.filter(({ id }) => id > 1).length > 40);
  expect(received.every(({ data: bytes }) => bytes.length === 60_000 || bytes.length === 4_000)).toBe(true);
  close();
});
