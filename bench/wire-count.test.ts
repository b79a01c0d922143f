import { describe, expect, test } from 'vitest';
import { encodeBatch, makeFrame } from '../proto/frame.ts';
import { FrameKind } from '../proto/gen/v1/frame.ts';
import { WireCount } from './wire-count.ts';

function http2Frame(type: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

function message(...kinds: FrameKind[]): Buffer {
  const batch = encodeBatch(kinds.map((kind, i) => makeFrame(i + 1, kind, Buffer.from('head'), Buffer.from('data'))));
  const header = Buffer.alloc(5);
  header.writeUInt32BE(batch.length, 1);
  return Buffer.concat([header, batch]);
}

describe('frames on the wire', () => {
  const first = message(FrameKind.FRAME_KIND_FILE_REQUEST, FrameKind.FRAME_KIND_PING);
  const second = message(FrameKind.FRAME_KIND_FILE_REQUEST);
  const wire = Buffer.concat([
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    http2Frame(4, 0, Buffer.alloc(6)),
    http2Frame(0, 1, first.subarray(0, 7)),
    http2Frame(0, 3, second),
    http2Frame(0, 1, first.subarray(7)),
  ]);

  test('are counted by kind wherever the bytes are cut', () => {
    for (let cut = 0; cut <= wire.length; cut++) {
      const count = new WireCount(true);
      count.push(wire.subarray(0, cut));
      count.push(wire.subarray(cut));
      expect([...count.byKind].sort()).toEqual(
        [
          [FrameKind.FRAME_KIND_FILE_REQUEST, 2],
          [FrameKind.FRAME_KIND_PING, 1],
        ].sort(),
      );
    }
  });
});
