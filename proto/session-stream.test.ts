import { afterEach, describe, expect, test, vi } from 'vitest';
import type { FrameTransport } from './carrier.ts';
import { creditFrame, GRANT_STEP_BYTES } from './credits.ts';
import { AppError } from './errors.ts';
import { decodeBatch, encodeBatch, type Frame, makeFrame, NO_BYTES } from './frame.ts';
import { Credit, FrameKind } from './gen/v1/frame.ts';
import { MOST_GRANTS } from './grant-pause.ts';
import { SessionStream } from './session-stream.ts';

/** The other end of the wire in memory: keeps what is written, and is full when told to be. */
class Wire implements FrameTransport {
  readonly batches: Buffer[] = [];
  isFull = false;
  hasEnded = false;
  isDestroyed = false;

  write(batch: readonly Frame[]): boolean {
    this.batches.push(encodeBatch(batch));
    return !this.isFull;
  }

  end(): void {
    this.hasEnded = true;
  }

  destroy(): void {
    this.isDestroyed = true;
  }

  get frames(): Frame[] {
    return this.batches.flatMap((batch) => decodeBatch(batch));
  }

  kinds(): number[] {
    return this.frames.map(({ kind }) => kind);
  }
}

const K = FrameKind;
const turn = () => new Promise((resolve) => setImmediate(resolve));
const request = (id: number, dataBytes = 0) =>
  makeFrame(id, K.FRAME_KIND_FILE_REQUEST, NO_BYTES, Buffer.alloc(dataBytes, id));
const credit = (bytes: number) => makeFrame(0, K.FRAME_KIND_CREDIT, Credit.encode({ bytes }).finish());

let opened: SessionStream[] = [];

function open(changes: { creditBytes?: number; onFrame?: (frame: Frame) => void | Promise<void> } = {}) {
  const wire = new Wire();
  const received: Frame[] = [];
  const ends: (AppError | null)[] = [];
  const stream = new SessionStream({
    transport: wire,
    peer: 'agent',
    lostCode: 'AGENT_LOST',
    onFrame: (frame) => {
      received.push(frame);
    },
    onClosed: (error) => ends.push(error),
    ...changes,
  });
  opened.push(stream);
  return { stream, wire, received, ends, feed: (...frames: Frame[]) => stream.receive(encodeBatch(frames)) };
}

afterEach(() => {
  for (const stream of opened) stream.destroy();
  opened = [];
  vi.useRealTimers();
});

describe('sending', () => {
  test('the first frame of a turn of the loop goes at once, the others of it in one batch, in order', async () => {
    const { stream, wire } = open();
    for (const id of [1, 3, 5, 7]) stream.send(request(id, 10));
    expect(wire.batches).toHaveLength(1);
    await turn();
    expect(wire.batches).toHaveLength(2);
    expect(wire.frames.map(({ id }) => id)).toEqual([1, 3, 5, 7]);
    stream.send(request(9, 10));
    expect(wire.batches).toHaveLength(3);
  });

  test('64 KiB go at once', () => {
    const { stream, wire } = open();
    stream.send(request(1, 64 * 1024));
    expect(wire.batches).toHaveLength(1);
  });

  test('bulk goes at once where nobody waits, each in a batch of its own, and behind those who do', async () => {
    const { stream, wire, feed } = open();
    const bulk = () => wire.frames.map(({ id }) => id).filter((id) => id > 0);
    for (const id of [1, 3]) stream.send(request(id, 256 * 1024));
    expect(bulk()).toEqual([1, 3]);
    expect(wire.batches).toHaveLength(2);
    wire.isFull = true;
    for (const id of [5, 7]) stream.send(request(id, 256 * 1024));
    expect([wire.batches.length, stream.bufferedBytes > 256 * 1024]).toEqual([3, true]);
    wire.isFull = false;
    stream.transportDrained();
    // As far as the credit goes.
    for (let id = 9; id < 31; id += 2) stream.send(request(id, 256 * 1024));
    expect(bulk()).toHaveLength(12);
    feed(credit(3 * 1024 * 1024));
    await turn();
    expect(bulk()).toEqual(Array.from({ length: 15 }, (_, at) => 2 * at + 1));
  });

  test('a full transport stops it, and the bytes that wait are counted until it drains', async () => {
    const { stream, wire } = open();
    wire.isFull = true;
    for (let id = 1; id <= 9; id += 2) stream.send(request(id, 64 * 1024));
    expect(wire.batches).toHaveLength(1);
    expect(stream.bufferedBytes).toBeGreaterThan(4 * 64 * 1024);
    let isDrained = false;
    const drained = stream.drained().then(() => {
      isDrained = true;
    });
    await turn();
    expect(isDrained).toBe(false);
    wire.isFull = false;
    stream.transportDrained();
    await drained;
    expect(stream.bufferedBytes).toBe(0);
    expect(wire.frames.filter(({ id }) => id > 0)).toHaveLength(5);
  });

  test('a question for the distance goes ahead of bulk, once, and behind what is asked already', () => {
    const { stream, wire } = open();
    void stream.suspend();
    stream.resume();
    for (let id = 1; id <= 5; id += 2) stream.send(request(id, 64 * 1024));
    const { FRAME_KIND_SESSION_SUSPEND, FRAME_KIND_PING } = FrameKind;
    expect(wire.frames.filter(({ id }) => id === 0).map(({ kind }) => kind)).toEqual([
      ...[FRAME_KIND_SESSION_SUSPEND, FRAME_KIND_PING, FRAME_KIND_PING],
    ]);
    expect(wire.frames.slice(-3).map(({ id }) => id)).toEqual([1, 3, 5]);
  });

  test('data waits for credit, and what comes behind it keeps its place', async () => {
    const { stream, wire, feed } = open({ creditBytes: 100 });
    stream.send(request(1, 80));
    stream.send(request(3, 80));
    stream.send(request(5));
    await turn();
    expect(wire.frames.map(({ id }) => id)).toEqual([1]);
    feed(credit(60));
    await turn();
    expect(wire.frames.map(({ id }) => id)).toEqual([1, 3, 5]);
  });

  test('credit and pong overtake data that waits, so that two blocked sides go on', async () => {
    const { stream, wire, feed } = open({ creditBytes: 100 });
    stream.send(request(1, 100));
    stream.send(request(3, 100));
    await turn();
    feed(request(2, 100), makeFrame(0, K.FRAME_KIND_PING));
    await turn();
    expect(wire.kinds()).toEqual([K.FRAME_KIND_FILE_REQUEST, K.FRAME_KIND_CREDIT, K.FRAME_KIND_PONG]);
  });

  test('a sender that never waits is ended with LIMIT_REACHED', () => {
    const { stream, wire, ends } = open();
    wire.isFull = true;
    for (let id = 1; id < 1_000; id += 2) stream.send(request(id, 256 * 1024));
    expect(ends).toMatchObject([{ code: 'LIMIT_REACHED' }]);
    expect(wire.isDestroyed).toBe(true);
    expect(stream.bufferedBytes).toBe(0);
  });

  test('a frame beyond the limits is refused to who sends it', () => {
    expect(() => open().stream.send(request(1, 256 * 1024 + 1))).toThrow('over 262144');
  });
});

describe('receiving', () => {
  test('grants of bulk leave for some batches at once, and soon where none follows', async () => {
    const { wire, feed, stream } = open();
    const bulk = () => feed(request(2, GRANT_STEP_BYTES));
    for (let batch = 1; batch < MOST_GRANTS; batch++) bulk();
    expect(wire.batches).toHaveLength(0);
    bulk();
    expect(wire.frames.map(({ head }) => Credit.decode(head).bytes)).toEqual([MOST_GRANTS * GRANT_STEP_BYTES]);
    expect(wire.batches).toHaveLength(1);
    bulk();
    expect(wire.batches).toHaveLength(1);
    await vi.waitFor(() => expect(wire.batches).toHaveLength(2), { timeout: 10_000 });
    // Whoever has something to say says it at once, and the grants go with it.
    bulk();
    stream.send(request(4, 1));
    expect(wire.batches).toHaveLength(3);
    expect(wire.kinds().slice(2)).toEqual([K.FRAME_KIND_CREDIT, K.FRAME_KIND_FILE_REQUEST]);
  });

  test('grants of a connection that are made between batches wait for each other as well, and leave as one', async () => {
    const { wire, stream } = open();
    const grant = () => stream.send(creditFrame(1, GRANT_STEP_BYTES));
    for (let count = 1; count < MOST_GRANTS; count++) grant();
    expect(wire.batches).toHaveLength(0);
    grant();
    const sum = MOST_GRANTS * GRANT_STEP_BYTES;
    expect(wire.frames.map(({ id, head }) => [id, Credit.decode(head).bytes])).toEqual([[1, sum]]);
    grant();
    stream.send(creditFrame(3, 5));
    await vi.waitFor(() => expect(wire.batches).toHaveLength(2), { timeout: 10_000 });
    expect(wire.frames.slice(1).map(({ id }) => id)).toEqual([1, 3]);
  });

  test('credit is given when the bytes have been handed on, not when they came', async () => {
    const release: (() => void)[] = [];
    const { wire, feed } = open({ onFrame: () => new Promise<void>((resolve) => release.push(resolve)) });
    for (const id of [2, 4]) feed(request(id, GRANT_STEP_BYTES / 2));
    await turn();
    expect(wire.frames).toHaveLength(0);
    for (const resolve of release) resolve();
    await turn();
    await turn();
    expect(wire.frames.map(({ head }) => Credit.decode(head))).toEqual([{ bytes: GRANT_STEP_BYTES }]);
  });

  test('credit that would have a message of its own soon goes with what is sent anyway', async () => {
    const { stream, wire, feed } = open();
    feed(request(2, GRANT_STEP_BYTES / 2));
    await turn();
    expect(wire.frames).toHaveLength(0);
    stream.send(request(1));
    stream.send(request(3));
    await turn();
    expect(wire.kinds()).toEqual([K.FRAME_KIND_FILE_REQUEST, K.FRAME_KIND_CREDIT, K.FRAME_KIND_FILE_REQUEST]);
    expect(Credit.decode(wire.frames[1]?.head as Uint8Array)).toEqual({ bytes: GRANT_STEP_BYTES / 2 });
  });

  test('a peer that sends beyond its credit is told and left', async () => {
    const { wire, ends, feed } = open({ creditBytes: 100, onFrame: () => new Promise<void>(() => undefined) });
    feed(request(2, 60));
    feed(request(4, 60));
    expect(ends).toMatchObject([{ code: 'PROTOCOL_VIOLATION' }]);
    expect(wire.kinds()).toEqual([K.FRAME_KIND_SESSION_ERROR]);
  });

  test.each([
    [
      'throws',
      () => {
        throw new AppError('TARGET_GONE', 'gone');
      },
    ],
    ['rejects', () => Promise.reject(new AppError('TARGET_GONE', 'gone'))],
  ])('a handler that %s fails the session with that error, on both sides', async (_, onFrame) => {
    const { wire, ends, feed } = open({ onFrame });
    feed(request(2));
    await turn();
    expect(ends).toMatchObject([{ code: 'TARGET_GONE' }]);
    const other = open();
    other.stream.receive(wire.batches[0] as Buffer);
    expect(other.ends).toMatchObject([{ code: 'TARGET_GONE', message: 'gone' }]);
  });

  test('garbage ends the session', () => {
    const { stream, ends } = open();
    stream.receive(Buffer.from('ffffff', 'hex'));
    expect(ends).toMatchObject([{ code: 'PROTOCOL_VIOLATION' }]);
  });

  test('a ping is answered with its data, and a pong settles the ping', async () => {
    const { stream, wire, feed } = open();
    feed(makeFrame(0, K.FRAME_KIND_PING, NO_BYTES, Buffer.from('abc')));
    const roundTrip = stream.ping();
    await turn();
    expect(wire.frames.map(({ kind, data }) => [kind, Buffer.from(data).toString()])).toEqual([
      [K.FRAME_KIND_PONG, 'abc'],
      [K.FRAME_KIND_PING, ''],
    ]);
    feed(makeFrame(0, K.FRAME_KIND_PONG));
    expect(await roundTrip).toBeGreaterThanOrEqual(0);
  });
});

describe('the end', () => {
  test('in order: goodbye, what was queued, then the end', async () => {
    const { stream, wire, ends } = open();
    stream.send(request(1));
    stream.send(makeFrame(0, K.FRAME_KIND_SESSION_CLOSED));
    stream.end();
    expect(wire.kinds()).toEqual([K.FRAME_KIND_FILE_REQUEST, K.FRAME_KIND_SESSION_CLOSED]);
    expect(wire.hasEnded).toBe(true);
    stream.transportEnded(null);
    stream.transportEnded(null);
    expect(ends).toEqual([null]);
  });

  test('a transport that ends without a goodbye is a lost peer', () => {
    const { stream, ends } = open();
    stream.transportEnded(null);
    expect(ends).toMatchObject([{ code: 'AGENT_LOST' }]);
  });

  test('a peer that has asked to close may end its side and still gets its answers', async () => {
    const { stream, wire, ends, feed } = open();
    feed(makeFrame(0, K.FRAME_KIND_SESSION_CLOSE));
    stream.peerEnded();
    stream.send(request(2));
    await turn();
    expect(ends).toEqual([]);
    expect(wire.frames).toHaveLength(1);
  });

  test('a peer that ends its side unasked is lost', () => {
    const { stream, ends } = open();
    stream.peerEnded();
    expect(ends).toMatchObject([{ code: 'AGENT_LOST' }]);
  });

  test('frames after the end are dropped', async () => {
    const { stream, wire } = open();
    stream.end();
    stream.send(request(1));
    await turn();
    expect(wire.frames).toHaveLength(0);
  });

  test('a peer that falls silent is pinged, then lost, within 15 s', async () => {
    vi.useFakeTimers();
    const { wire, ends } = open();
    await vi.advanceTimersByTimeAsync(6_000);
    expect(wire.kinds()).toContain(K.FRAME_KIND_PING);
    expect(ends).toEqual([]);
    await vi.advanceTimersByTimeAsync(9_000);
    expect(ends).toMatchObject([{ code: 'AGENT_LOST', message: 'the agent has been silent for too long' }]);
    expect(wire.isDestroyed).toBe(true);
  });

  test('who waits for the drain is not left waiting', async () => {
    const { stream, wire } = open();
    wire.isFull = true;
    for (let id = 1; id < 20; id += 2) stream.send(request(id, 64 * 1024));
    const drained = stream.drained();
    stream.destroy();
    await drained;
  });
});

describe('a side that is stopped', () => {
  test('says so, is silent until it goes on, and sends then what waited', async () => {
    const { stream, wire, feed } = open();
    const suspended = stream.suspend();
    await turn();
    feed(makeFrame(0, K.FRAME_KIND_PONG));
    await suspended;
    stream.send(request(1));
    feed(makeFrame(0, K.FRAME_KIND_PING));
    await turn();
    expect(wire.kinds()).toEqual([K.FRAME_KIND_SESSION_SUSPEND]);
    stream.resume();
    await turn();
    const [, pong, ping, held] = wire.kinds();
    expect([pong, ping, held]).toEqual([K.FRAME_KIND_PONG, K.FRAME_KIND_PING, K.FRAME_KIND_FILE_REQUEST]);
  });

  test('is not lost by its silence, and is told why when it lasted too long', () => {
    vi.useFakeTimers();
    const { wire, ends, feed } = open();
    feed(makeFrame(0, K.FRAME_KIND_SESSION_SUSPEND));
    vi.advanceTimersByTime(3_590_000);
    expect(ends).toEqual([]);
    vi.advanceTimersByTime(20_000);
    expect(ends[0]?.message).toContain('was stopped');
    expect(wire.kinds()).toContain(K.FRAME_KIND_SESSION_ERROR);
  });

  test('that goes on is watched again', () => {
    vi.useFakeTimers();
    const { ends, feed } = open();
    feed(makeFrame(0, K.FRAME_KIND_SESSION_SUSPEND));
    vi.advanceTimersByTime(100_000);
    feed(makeFrame(0, K.FRAME_KIND_PING));
    vi.advanceTimersByTime(20_000);
    expect(ends[0]?.message).toContain('silent');
  });
});

test('a peer that sends PINGs and reads no answer is cut before its answers fill the memory', async () => {
  const { stream, wire, ends, feed } = open();
  wire.isFull = true;
  stream.send(request(1));
  await turn();
  for (let batch = 0; batch < 11; batch += 1) {
    feed(...Array.from({ length: 100 }, () => makeFrame(0, K.FRAME_KIND_PING)));
    await turn();
  }
  expect(wire.isDestroyed).toBe(true);
  expect(ends).toEqual([expect.objectContaining({ code: 'LIMIT_REACHED' })]);
});
