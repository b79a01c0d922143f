import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameReader, frameHead, OPCODE } from './websocket-frames.ts';

/** A frame as a server sends it: never masked. */
function served(opcode: number, payload: Buffer): Buffer {
  const head = frameHead(opcode, [payload], true);
  head[1] = (head[1] as number) & 0x7f;
  return Buffer.concat([head.subarray(0, -4), payload]);
}

function read(bytes: Buffer, cuts: readonly number[] = []): { data: Buffer[]; control: [number, string][] } {
  const data: Buffer[] = [];
  const control: [number, string][] = [];
  const reader = new FrameReader({
    onData: (piece, isStart) => {
      if (isStart) data.push(piece);
      else data.push(Buffer.concat([data.pop() as Buffer, piece]));
    },
    onControl: (opcode, payload) => control.push([opcode, payload.toString()]),
  });
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  for (const [index, at] of places.slice(1).entries()) reader.push(bytes.subarray(places[index], at));
  return { data, control };
}

test('frames of every length are read as they were sent, wherever the network cut them', () => {
  const length = fc.oneof(fc.nat(300), fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_000));
  const payloads = fc.array(length.map((bytes) => Buffer.alloc(bytes, bytes)).filter(({ length: n }) => n > 0));
  fc.assert(
    fc.property(payloads, fc.array(fc.nat()), (sent, cuts) => {
      const { data } = read(Buffer.concat(sent.map((payload) => served(OPCODE.binary, payload))), cuts);
      expect(data.length).toBe(sent.length);
      expect(data.every((got, index) => got.equals(sent[index] as Buffer))).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('control frames come between the pieces of a message', () => {
  const bytes = Buffer.concat([served(OPCODE.ping, Buffer.from('p')), served(OPCODE.close, Buffer.alloc(0))]);
  expect(read(bytes, [1, 2, 3]).control).toEqual([
    [OPCODE.ping, 'p'],
    [OPCODE.close, ''],
  ]);
});

test('what breaks the protocol is refused', () => {
  const masked = served(OPCODE.binary, Buffer.from('x'));
  masked[1] = (masked[1] as number) | 0x80;
  const reserved = served(OPCODE.binary, Buffer.from('x'));
  reserved[0] = (reserved[0] as number) | 0x40;
  const huge = Buffer.from([0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]);
  const endless = Buffer.from([0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
  const longPing = served(OPCODE.ping, Buffer.alloc(126));
  for (const bytes of [masked, reserved, huge, endless, longPing]) {
    expect(() => read(bytes)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
  }
});

test('below TLS nothing is masked; without it every byte is, by the mask in the head', () => {
  const text = Buffer.from('some bytes');
  expect(frameHead(OPCODE.binary, [text], true).subarray(-4)).toEqual(Buffer.alloc(4));
  expect(text.toString()).toBe('some bytes');
  const parts = [Buffer.from('som'), Buffer.from('e bytes')];
  const mask = frameHead(OPCODE.binary, parts, false).subarray(-4);
  const plain = Buffer.concat(parts).map((byte, index) => byte ^ (mask[index & 3] as number));
  expect(Buffer.from(plain).toString()).toBe('some bytes');
});
