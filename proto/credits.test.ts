import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CreditRoom,
  creditFrame,
  creditOf,
  GRANT_STEP_BYTES,
  ReceiveCredit,
  SESSION_CREDIT_BYTES,
  SendCredit,
} from './credits.ts';
import { makeFrame } from './frame.ts';
import { Credit, FrameKind } from './gen/v1/frame.ts';

describe('a sender', () => {
  test('takes all of a frame or nothing', () => {
    const credit = new SendCredit(100);
    expect(credit.take(60)).toBe(true);
    expect(credit.take(60)).toBe(false);
    expect(credit.availableBytes).toBe(40);
    expect(credit.take(40)).toBe(true);
  });

  test('that waits goes on with the next grant', async () => {
    const credit = new SendCredit(0);
    const waiting = credit.wait();
    credit.grant(10);
    await waiting;
    expect(credit.take(10)).toBe(true);
  });

  test('refuses grants that no honest peer makes', () => {
    expect(() => new SendCredit(1).grant(Number.MAX_SAFE_INTEGER)).toThrow('overflows');
  });
});

describe('a receiver', () => {
  test('grants in steps, and exactly what was consumed', () => {
    const credit = new ReceiveCredit(SESSION_CREDIT_BYTES);
    credit.received(GRANT_STEP_BYTES + 5);
    expect(credit.consumed(GRANT_STEP_BYTES - 1)).toBe(0);
    expect(credit.consumed(6)).toBe(GRANT_STEP_BYTES + 5);
    expect(credit.consumed(0)).toBe(0);
  });

  test('grants early, half a step and no less, where something goes to the peer anyway', () => {
    const credit = new ReceiveCredit(SESSION_CREDIT_BYTES);
    credit.received(GRANT_STEP_BYTES);
    expect([credit.consumed(GRANT_STEP_BYTES / 2 - 1), credit.due()]).toEqual([0, 0]);
    expect([credit.consumed(1), credit.due(), credit.due()]).toEqual([0, GRANT_STEP_BYTES / 2, 0]);
    expect(credit.consumed(GRANT_STEP_BYTES / 2)).toBe(0);
  });

  test('that is closed gives back to the room what it took, once, whatever is handed on afterwards', () => {
    const room = new CreditRoom(100);
    const credit = new ReceiveCredit(100, { mostBytes: 200, room });
    credit.received(100);
    credit.consumed(100, true, 0);
    expect([credit.windowBytes, room.take(1)]).toEqual([200, false]);
    credit.received(100);
    credit.close();
    credit.consumed(100, false, 1);
    expect([room.take(100), room.take(1)]).toEqual([true, false]);
  });

  test('refuses data beyond what it granted', () => {
    const credit = new ReceiveCredit(10);
    credit.received(10);
    expect(() => credit.received(1)).toThrow('1 bytes of data where 0 were granted');
  });
});

test('a sender that keeps to its credit never waits for ever and never overruns the receiver', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 256 * 1024 }), { maxLength: 200 });
  fc.assert(
    fc.property(sizes, fc.array(fc.boolean(), { minLength: 1, maxLength: 50 }), (frames, eager) => {
      const sender = new SendCredit(SESSION_CREDIT_BYTES);
      const receiver = new ReceiveCredit(SESSION_CREDIT_BYTES);
      const held: number[] = [];
      const consumeAll = () => {
        for (const bytes of held.splice(0)) sender.grant(receiver.consumed(bytes));
      };
      frames.forEach((bytes, index) => {
        if (!sender.take(bytes)) {
          consumeAll();
          expect(sender.take(bytes)).toBe(true);
        }
        receiver.received(bytes);
        held.push(bytes);
        if (eager[index % eager.length]) consumeAll();
      });
    }),
  );
});

describe('a grant', () => {
  const frameOf = (head: Uint8Array) => makeFrame(7, FrameKind.FRAME_KIND_CREDIT, head);

  test('is written and read as by the generated code, whatever it is', () => {
    fc.assert(
      fc.property(fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.integer({ min: 0, max: 300 })), (bytes) => {
        const frame = creditFrame(7, bytes);
        expect(Buffer.from(frame.head)).toEqual(Buffer.from(Credit.encode({ bytes }).finish()));
        expect(creditOf(frame)).toBe(bytes);
      }),
    );
  });

  test('that a newer peer has written is read like one of today, and garbage is refused', () => {
    expect(creditOf(frameOf(Buffer.from([0x10, 9, 0x08, 5])))).toBe(5);
    expect(creditOf(frameOf(Buffer.from([0x08, 0x85, 0x80, 0x00, 0x10, 9])))).toBe(5);
    expect(() => creditOf(frameOf(Buffer.from([0x08])))).toThrow('head of 1 bytes cannot be read');
    expect(() => creditOf(frameOf(Buffer.from([0x08, 0x80, 0x80])))).toThrow('cannot be read');
  });
});

describe('a window that grows', () => {
  const KIB = 1024;
  const MOST = 16 * 64 * KIB;
  const open = (room?: CreditRoom) =>
    new ReceiveCredit(64 * KIB, room === undefined ? { mostBytes: MOST } : { mostBytes: MOST, room });
  /** Takes what may come, at once, and gives what it says; every `everyMs` a piece. */
  const bring = (credit: ReceiveCredit, bytes: number, isPrompt = true, fromMs = 0, everyMs = 0) => {
    let nowMs = fromMs;
    for (let left = bytes; left > 0; left -= 16 * KIB) {
      credit.received(16 * KIB);
      credit.consumed(16 * KIB, isPrompt, nowMs);
      nowMs += everyMs;
    }
    return nowMs;
  };

  test('doubles with each window that is taken at once, to the most and no further', () => {
    const credit = open();
    bring(credit, 64 * KIB);
    expect(credit.windowBytes).toBe(128 * KIB);
    bring(credit, 4 * MOST);
    expect(credit.windowBytes).toBe(MOST);
  });

  test('goes back to its beginning when the taker falls behind', () => {
    const credit = open();
    bring(credit, 4 * MOST);
    bring(credit, MOST, false);
    expect(credit.windowBytes).toBe(64 * KIB);
  });

  test('goes back to its beginning when little comes', () => {
    const credit = open();
    bring(credit, 4 * MOST);
    bring(credit, 2 * MOST, true, 0, 2_000);
    expect(credit.windowBytes).toBe(64 * KIB);
  });

  test("all together have no more than the room, and what one gives up is another's", () => {
    const room = new CreditRoom(MOST);
    const credits = Array.from({ length: 20 }, () => open(room));
    const grown = () => credits.reduce((sum, credit) => sum + credit.windowBytes - 64 * KIB, 0);
    for (const credit of credits) bring(credit, 4 * MOST);
    expect(grown()).toBeLessThanOrEqual(MOST);
    const [first, ...others] = credits as [ReceiveCredit, ...ReceiveCredit[]];
    expect(first.windowBytes).toBe(MOST);
    first.close();
    first.close();
    for (const credit of others) bring(credit, 4 * MOST);
    expect(grown() - (MOST - 64 * KIB)).toBeLessThanOrEqual(MOST);
    expect(others[0]?.windowBytes).toBe(MOST);
  });

  test('whatever comes, in whatever pace: what the sender may send and what is not given again is one window', () => {
    const step = fc.record({ kib: fc.integer({ min: 1, max: 64 }), isPrompt: fc.boolean(), ms: fc.nat(3_000) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const credit = open();
        let mayBytes = 64 * KIB;
        let owedBytes = 0;
        let nowMs = 0;
        for (const { kib, isPrompt, ms } of steps) {
          const bytes = Math.min(kib * KIB, mayBytes);
          nowMs += ms;
          mayBytes -= bytes;
          credit.received(bytes);
          const before = credit.windowBytes;
          const granted = credit.consumed(bytes, isPrompt, nowMs);
          mayBytes += granted;
          owedBytes += bytes - granted + credit.windowBytes - before;
          expect(mayBytes + owedBytes).toBe(credit.windowBytes);
          expect(credit.windowBytes).toBeGreaterThanOrEqual(64 * KIB);
          expect(credit.windowBytes).toBeLessThanOrEqual(MOST);
          expect(mayBytes).toBeGreaterThan(0);
        }
      }),
    );
  });
});
