import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BatchBytes, encodeBatch, makeFrame } from './frame.ts';
import { FrameKind } from './gen/v1/frame.ts';
import { encodeMessage, MessageReader } from './grpc-message.ts';
import { BLOCK_BYTES, Lease, ReceiveBlock } from './receive-blocks.ts';
import { ReceivedBytes } from './received-bytes.ts';

/** As `wipe` leaves them. */
const isWiped = (bytes: Uint8Array) => bytes.every((byte) => byte === 0xdb);

test('memory is used again when every hold of it has ended, and not before', () => {
  const block = ReceiveBlock.take();
  block.bytes.fill(1);
  const [first, second] = [new Lease(), new Lease()];
  first.add(block);
  second.add(block);
  block.leave();
  const endFirst = first.hold();
  first.end();
  second.end();
  const other = ReceiveBlock.take();
  expect([other.bytes === block.bytes, block.bytes[0]]).toEqual([false, 1]);
  endFirst();
  expect(isWiped(block.bytes)).toBe(true);
  expect(ReceiveBlock.take().bytes).toBe(block.bytes);
});

test('a hold that is ended twice ends once', () => {
  const block = ReceiveBlock.take();
  const lease = new Lease();
  lease.add(block);
  block.leave();
  const [end] = [lease.hold(), lease.hold()];
  lease.end();
  end();
  end();
  end();
  expect(block.isHeld).toBe(true);
});

test('what is not left yet, or was not a whole block, is not given out again', () => {
  const current = ReceiveBlock.take();
  const small = ReceiveBlock.small(16 * 1024);
  small.leave();
  for (const block of [current, small]) {
    block.hold();
    block.release();
  }
  const [one, two] = [ReceiveBlock.take(), ReceiveBlock.take()];
  for (const { bytes } of [one, two]) {
    expect([bytes === current.bytes, bytes === small.bytes, bytes.length]).toEqual([false, false, BLOCK_BYTES]);
  }
});

interface Kept {
  readonly message: BatchBytes;
  readonly expected: Buffer;
  readonly end: (() => void) | null;
}

const whole = (message: BatchBytes) => Buffer.concat(message instanceof Uint8Array ? [message] : message);

test('messages that somebody holds keep their bytes, whoever gives back what in whatever order', () => {
  const messages = fc.array(
    fc.record({ bytes: fc.integer({ min: 0, max: 250_000 }), fate: fc.constantFrom('used', 'held', 'held', 'kept') }),
    { minLength: 5, maxLength: 60 },
  );
  const reads = fc.infiniteStream(fc.integer({ min: 1, max: 300_000 }));
  const ends = fc.infiniteStream(fc.integer({ min: 0, max: 5 }));
  fc.assert(
    fc.property(messages, reads, ends, (all, sizes, order) => {
      const kept: Kept[] = [];
      let fates = 0;
      const encoded = all.map(({ bytes }, at) =>
        encodeMessage([makeFrame(at + 1, FrameKind.FRAME_KIND_FILE_REPLY, undefined, Buffer.alloc(bytes, at + 1))]),
      );
      const expected = all.map(({ bytes }, at) =>
        encodeBatch([makeFrame(at + 1, FrameKind.FRAME_KIND_FILE_REPLY, undefined, Buffer.alloc(bytes, at + 1))]),
      );
      const reader = new MessageReader((message, lease) => {
        const at = fates++;
        expect(whole(message).equals(expected[at] as Buffer)).toBe(true);
        const fate = all[at]?.fate;
        if (fate === 'used') return true;
        const end = fate === 'held' ? (lease?.hold() ?? null) : null;
        kept.push({ message, expected: expected[at] as Buffer, end });
        return fate === 'held';
      });
      const received = new ReceivedBytes();
      const wire = Buffer.concat(encoded.flatMap(({ pieces }) => pieces));
      for (let at = 0; at < wire.length; ) {
        const room = received.room();
        const count = Math.min(room.length, wire.length - at, sizes.next().value ?? 1);
        wire.copy(room, 0, at, at + count);
        at += count;
        received.added(count);
        const { block } = received;
        const chunk = received.bytes.subarray(received.start, received.start + received.length);
        block.hold();
        if (reader.push(chunk, block)) block.release();
        received.used(chunk.length);
        const given = kept[order.next().value ?? 0];
        given?.end?.();
        if (given?.end !== null && given !== undefined) kept.splice(kept.indexOf(given), 1);
        for (const { message, expected } of kept) expect(whole(message).equals(expected)).toBe(true);
      }
      expect(fates).toBe(all.length);
    }),
    { numRuns: 25 },
  );
});
