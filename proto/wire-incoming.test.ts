import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Address, internet } from './socket-address.ts';
import { WireDecoder, WireError, type WireFrame, WireKind, WireTransport } from './wire.ts';
import { BodyReader } from './wire-body.ts';
import {
  arrival,
  arrivalOver,
  decodeIncomingRequest,
  encodeIncomingRequest,
  isIncomingKind,
  replyBind,
  replyOwn,
  type WireIncomingRequest,
} from './wire-incoming.ts';
import { isNetKind, readAddress } from './wire-net.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const port = fc.nat(65_535);
const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map(Buffer.from);
const address: fc.Arbitrary<Address> = fc.oneof(
  fc.tuple(bytesOf(4), port).map(([ip, at]) => internet(ip, at)),
  fc.tuple(bytesOf(16), port, u32).map(([ip, at, scope]) => internet(ip, at, scope)),
);
const transport = fc.constantFrom(...Object.values(WireTransport));
const K = WireKind;

const request: fc.Arbitrary<WireIncomingRequest> = fc.oneof(
  fc.record({ kind: fc.constant(K.BIND), pid: u32, transport, asked: address }),
  fc.record({
    kind: fc.constant(K.LISTEN),
    pid: u32,
    listener: u64,
    transport,
    isV6Only: fc.boolean(),
    asked: address,
    actual: address,
  }),
  fc.record({ kind: fc.constant(K.LISTEN_CLOSED), listener: u64 }),
  fc.record({ kind: fc.constant(K.ARRIVAL_KNOWN) }),
);

function only(pieces: Buffer[]): WireFrame {
  const [frame, ...rest] = new WireDecoder().push(Buffer.concat(pieces));
  if (!frame || rest.length > 0) throw new Error('not one frame');
  return frame;
}

test('what the supervisor says is what the client understands, and cut short it is refused', () => {
  fc.assert(
    fc.property(u64, request, (id, asked) => {
      const frame = only(encodeIncomingRequest(id, asked));
      expect(frame.id).toBe(id);
      expect(isIncomingKind(frame.kind) && !isNetKind(frame.kind)).toBe(true);
      expect(decodeIncomingRequest(frame.kind, frame.body)).toEqual(asked);
      for (let cut = 0; cut < frame.body.length; cut++) {
        expect(() => decodeIncomingRequest(frame.kind, frame.body.subarray(0, cut))).toThrow(WireError);
      }
    }),
  );
});

test('an arrival names the source, the peer and the local address, in this order', () => {
  const [source, peer, local] = [1, 2, 3].map((last) => internet(Buffer.from([127, 0, 0, last]), last)) as [
    Address,
    Address,
    Address,
  ];
  const reader = new BodyReader(only(arrival(7n, source, peer, local)).body);
  expect([readAddress(reader), readAddress(reader), readAddress(reader)]).toEqual([source, peer, local]);
  expect(readAddress(new BodyReader(only(arrivalOver(source)).body))).toEqual(source);
});

test('a bind is answered with where, with anywhere near, or with nothing to do with us', () => {
  const there = internet(Buffer.from([127, 0, 0, 1]), 8080);
  const exactly = new BodyReader(only(replyBind(1n, there)).body);
  expect([exactly.i32(), readAddress(exactly)]).toEqual([0, there]);
  const nearby = new BodyReader(only(replyBind(1n, null)).body);
  expect([nearby.i32(), readAddress(nearby)]).toEqual([0, null]);
  expect(new BodyReader(only(replyOwn(1n)).body).i32()).toBe(-4096);
});
