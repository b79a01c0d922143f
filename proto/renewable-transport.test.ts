import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { AppError } from './errors.ts';
import { encodeBatch, type Frame, makeFrame, NO_BYTES } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { REPLAY_WINDOW_BYTES } from './renewable-transport.ts';
import { type End, MemoryLink } from './testing/memory-link.ts';

// What takes a moment may take many on a busy machine; each test waits for an event and not for time.
vi.setConfig({ testTimeout: 60_000 });

const K = FrameKind;
let links: MemoryLink[] = [];

function join(options: { creditBytes?: number; windowBytes?: number } = {}): MemoryLink {
  const link = new MemoryLink(options);
  links.push(link);
  return link;
}

afterEach(() => {
  for (const link of links) link.close();
  links = [];
  vi.useRealTimers();
});

/** Each frame tells which it is, so that one that is lost, repeated or moved shows. */
function frameOf(index: number, bytes: number): Frame {
  const data = Buffer.alloc(bytes, index);
  if (bytes >= 4) data.writeUInt32LE(index);
  return makeFrame(index + 1, K.FRAME_KIND_FILE_REPLY, Buffer.from(`head ${index}`), data);
}

const digestOf = (frames: readonly Frame[]) =>
  frames.map(({ id, head, data }) => {
    const hash = createHash('sha256').update(head).update(data).digest('hex').slice(0, 12);
    return `${id} ${data.length} ${hash}`;
  });

function expectWhole(end: End, sent: readonly Frame[]): void {
  expect(digestOf(end.received)).toEqual(digestOf(sent));
  expect(end.closed).toEqual([]);
}

describe('a cut loses, repeats and moves nothing', () => {
  const FRAMES = 18;
  const sizes = [0, 10, 70_000, 5_000, 300, 200_000];
  const conversation = Array.from({ length: FRAMES }, (_, index) => frameOf(index, sizes[index % sizes.length] ?? 0));

  test.each(['up', 'down'] as const)('after every batch that goes %s, whoever notices it first', async (direction) => {
    for (const first of ['client', 'agent'] as const) {
      for (let cutAfter = 0; cutAfter <= FRAMES; cutAfter += 1) {
        const link = join();
        for (const frame of conversation) {
          link.client.stream.send(frame);
          link.agent.stream.send(frame);
        }
        await new Promise((resolve) => setImmediate(resolve));
        for (let count = 0; count < cutAfter; count += 1) link.deliver(direction);
        link.cut(first);
        link.renew();
        await link.settle();
        expectWhole(link.agent, conversation);
        expectWhole(link.client, conversation);
        link.close();
      }
    }
  });

  type Act =
    | { kind: 'send'; end: 'client' | 'agent'; bytes: number }
    | { kind: 'up' | 'down' | 'turn' | 'cut' | 'renew' };
  const anyAct: fc.Arbitrary<Act> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('send' as const),
        end: fc.constantFrom('client' as const, 'agent' as const),
        bytes: fc.oneof(fc.nat(50), fc.integer({ min: 3_000, max: 90_000 })),
      }),
    },
    { weight: 8, arbitrary: fc.record({ kind: fc.constantFrom('up' as const, 'down' as const, 'turn' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('cut' as const, 'renew' as const) }) },
  );

  test('in any order of sending, arriving, breaking and coming back, with what is kept bounded', async () => {
    const windowBytes = 200_000;
    const keptAtMost = windowBytes + 448 * 1024;
    await fc.assert(
      fc.asyncProperty(fc.array(anyAct, { maxLength: 150 }), async (acts) => {
        const link = join({ creditBytes: 256 * 1024, windowBytes });
        const sent = { client: [] as Frame[], agent: [] as Frame[] };
        for (const act of acts) {
          if (act.kind === 'send') {
            const frame = frameOf(sent[act.end].length, act.bytes);
            sent[act.end].push(frame);
            link[act.end].stream.send(frame);
          } else if (act.kind === 'turn') await new Promise((resolve) => setImmediate(resolve));
          else if (act.kind === 'cut') link.cut(sent.client.length % 2 === 0 ? 'client' : 'agent');
          else if (act.kind === 'renew') link.renew();
          else link.deliver(act.kind);
          expect(link.client.transport.keptBytes).toBeLessThan(keptAtMost);
          expect(link.agent.transport.keptBytes).toBeLessThan(keptAtMost);
        }
        link.renew();
        await link.settle();
        expectWhole(link.agent, sent.client);
        expectWhole(link.client, sent.agent);
        link.close();
      }),
      { numRuns: 150 },
    );
  });
});

describe('what is kept', () => {
  test('is let go when the peer has it, without a frame of the peer that would tell', async () => {
    const link = join();
    for (let index = 0; index < 40; index += 1) link.client.stream.send(frameOf(index, 64 * 1024));
    await link.settle();
    expect(link.agent.received).toHaveLength(40);
    // Grants, which bring the acknowledgement, wait for each other for a millisecond.
    const keptBytes = async () => {
      await link.settle();
      return link.client.transport.keptBytes;
    };
    await expect.poll(keptBytes, { timeout: 50_000 }).toBeLessThan(600 * 1024);
  });

  test('stops at the window while nobody acknowledges, and the rest follows', async () => {
    const link = join({ creditBytes: 64 * 1024 * 1024 });
    const frames = Array.from({ length: 220 }, (_, index) => frameOf(index, 128 * 1024));
    for (const frame of frames) link.client.stream.send(frame);
    await new Promise((resolve) => setImmediate(resolve));
    expect(link.client.transport.keptBytes).toBeGreaterThanOrEqual(REPLAY_WINDOW_BYTES);
    expect(link.client.transport.keptBytes).toBeLessThan(REPLAY_WINDOW_BYTES + 256 * 1024);
    expect(link.client.stream.bufferedBytes).toBeGreaterThan(8 * 1024 * 1024);
    await link.settle();
    expectWhole(link.agent, frames);
  });

  test('holds no large buffer alive for a small piece of it', async () => {
    const link = join();
    const large = Buffer.alloc(4 * 1024 * 1024, 7);
    link.client.stream.send(makeFrame(1, K.FRAME_KIND_DATA, NO_BYTES, large.subarray(100, 8_292)));
    await new Promise((resolve) => setImmediate(resolve));
    link.cut();
    large.fill(0);
    link.renew();
    await link.settle();
    expect(Buffer.from(link.agent.received[0]?.data ?? []).equals(Buffer.alloc(8_192, 7))).toBe(true);
  });
});

describe('while there is no connection', () => {
  test('frames wait, nobody’s silence is a loss, and no PING piles up', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    const link = join();
    link.cut();
    link.client.stream.send(frameOf(1, 100));
    vi.advanceTimersByTime(600_000);
    expect([link.client.closed, link.agent.closed]).toEqual([[], []]);
    expect(link.client.stream.isParked).toBe(true);
    link.renew();
    await link.settle();
    expect(link.client.stream.isParked).toBe(false);
    expectWhole(link.agent, [frameOf(1, 100)]);
  });

  test('a producer that waits for the drain goes on when there is one again', async () => {
    const link = join();
    link.cut();
    for (let index = 0; index < 8; index += 1) link.client.stream.send(frameOf(index, 64 * 1024));
    let isDrained = false;
    const drained = link.client.stream.drained().then(() => {
      isDrained = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isDrained).toBe(false);
    link.renew();
    await drained;
  });

  test('a sender that never waits ends the session as it does over a slow one', () => {
    const link = join();
    link.cut();
    for (let index = 0; index < 200; index += 1) link.client.stream.send(frameOf(index, 256 * 1024));
    expect(link.client.closed).toMatchObject([{ code: 'LIMIT_REACHED' }]);
  });
});

test('a peer that is silent loses its connection, not its session', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  const link = join();
  vi.advanceTimersByTime(15_000);
  expect(link.client.breaks).toMatchObject([{ message: 'the agent has been silent for too long' }]);
  expect(link.client.closed).toEqual([]);
});

describe('the end', () => {
  test('a goodbye is no break: both ends close, and nobody waits for another connection', async () => {
    const link = join();
    link.client.stream.send(makeFrame(0, K.FRAME_KIND_SESSION_CLOSE));
    await link.settle();
    link.agent.stream.send(makeFrame(0, K.FRAME_KIND_SESSION_CLOSED));
    link.agent.stream.end();
    await link.settle();
    link.cut('agent');
    expect([link.agent.closed, link.client.closed]).toEqual([[null], [null]]);
    expect([...link.agent.breaks, ...link.client.breaks]).toEqual([]);
  });

  test('a client that breaks off after its goodbye is not waited for', async () => {
    const link = join();
    link.client.stream.send(makeFrame(0, K.FRAME_KIND_SESSION_CLOSE));
    await link.settle();
    link.cut('agent');
    expect(link.agent.breaks).toEqual([]);
    expect(link.agent.closed).toHaveLength(1);
  });

  test('who gives up says so, so that the other keeps nothing for it', async () => {
    const link = join();
    link.client.stream.send(frameOf(1, 10));
    await link.settle();
    link.client.stream.destroy(new AppError('CANCELLED', 'enough'));
    await link.settle();
    expect(link.agent.closed).toMatchObject([{ code: 'CANCELLED', message: 'enough' }]);
    expect(link.agent.breaks).toEqual([]);
  });

  test('the peer’s own refusal is final', () => {
    const link = join();
    link.client.carrier.owner?.refused(new AppError('LIMIT_REACHED', 'too many'));
    expect(link.client.closed).toMatchObject([{ code: 'LIMIT_REACHED' }]);
    expect(link.client.breaks).toEqual([]);
  });
});

describe('a peer that does not keep to it', () => {
  const numbered = (sequence: number, acknowledged: number, ...frames: Frame[]) =>
    encodeBatch(frames, { sequence, acknowledged });

  test.each([
    ['leaves a batch out', numbered(2, 0, frameOf(1, 0)), 'batch 2 where 1 is due'],
    ['acknowledges what was never sent', numbered(1, 9, frameOf(1, 0)), 'batch 9 is acknowledged and only 0 were sent'],
    ['sends frames without a number', numbered(0, 0, frameOf(1, 0)), 'in a batch without a number'],
  ])('%s: the session ends', (_, batch, message) => {
    const link = join();
    link.agent.carrier.owner?.receive(batch);
    expect(link.agent.closed).toMatchObject([{ code: 'PROTOCOL_VIOLATION' }]);
    expect(link.agent.closed[0]?.message).toContain(message);
  });

  test('forgets what it had acknowledged: the session ends', async () => {
    const link = join();
    for (let index = 0; index < 40; index += 1) link.client.stream.send(frameOf(index, 64 * 1024));
    await link.settle();
    link.cut();
    expect(() => link.client.transport.adopt(link.client.carrier, 0)).toThrow('batches that it had acknowledged');
  });
});
