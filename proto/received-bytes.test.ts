import { expect, test } from 'vitest';
import { ReceivedBytes } from './received-bytes.ts';

function bring(received: ReceivedBytes, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) {
    const count = Math.min(received.room().length, bytes.length - at);
    bytes.copy(received.room(), 0, at, at + count);
    at += count;
    received.added(count);
  }
}

const rest = (received: ReceivedBytes) => received.bytes.subarray(received.start, received.start + received.length);

test('memory that nobody holds on to is used from its start again', () => {
  const received = new ReceivedBytes();
  bring(received, Buffer.alloc(100, 1));
  const first = received.bytes;
  received.used(100);
  bring(received, Buffer.alloc(50, 2));
  expect([received.bytes === first, received.start, received.length]).toEqual([true, 0, 50]);
});

test('what somebody holds on to is left alone, whatever comes after it', () => {
  const received = new ReceivedBytes();
  const held: Buffer[] = [];
  for (let value = 1; value < 200; value++) {
    bring(received, Buffer.alloc(40_000, value));
    received.needs(40_000);
    held.push(rest(received));
    received.block.hold();
    received.used(40_000);
  }
  for (const [at, bytes] of held.entries()) expect(bytes.equals(Buffer.alloc(40_000, at + 1))).toBe(true);
});

test('a frame that begins anywhere finds room in one piece', () => {
  const received = new ReceivedBytes();
  for (let value = 0; value < 20; value++) {
    received.needs(475_000);
    bring(received, Buffer.alloc(475_000, value));
    expect(rest(received).equals(Buffer.alloc(475_000, value))).toBe(true);
    if (value % 2 === 1) received.block.hold();
    received.used(475_000 - 7);
    expect(received.length).toBe(7);
    received.used(7);
  }
});

test('a frame of bulk is read by itself, with the head of the next, and into the same memory each time', () => {
  const received = new ReceivedBytes();
  received.needs(256 * 1024);
  bring(received, Buffer.alloc(256 * 1024 + 64, 1));
  const { bytes } = received;
  for (let value = 2; value < 9; value++) {
    received.used(256 * 1024);
    received.needs(256 * 1024);
    expect(received.room().length).toBe(256 * 1024);
    bring(received, Buffer.alloc(256 * 1024, value));
    const expected = Buffer.concat([Buffer.alloc(64, value - 1), Buffer.alloc(256 * 1024, value)]);
    expect([received.bytes === bytes, received.start, rest(received).equals(expected)]).toEqual([true, 0, true]);
  }
});
