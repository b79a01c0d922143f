import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Address, internet } from './socket-address.ts';
import { WIRE_LOCAL, WireDecoder, WireError, type WireFrame, WireKind, WireTransport } from './wire.ts';
import {
  decodeNetRequest,
  encodeNetRequest,
  flowCredit,
  flowData,
  flowDatagram,
  flowHalfClose,
  flowReset,
  isNetKind,
  readAddress,
  readDatagram,
  replyConnected,
  replyFlowAddress,
  replyHere,
  type WireNetRequest,
} from './wire-net.ts';
import { decodeReply } from './wire-supervisor.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const port = fc.nat(65_535);
const bytesOf = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
const address: fc.Arbitrary<Address> = fc.oneof(
  fc.tuple(bytesOf(4), port).map(([ip, at]) => internet(ip, at)),
  fc.tuple(bytesOf(16), port, u32).map(([ip, at, scope]) => internet(ip, at, scope)),
  fc.uint8Array({ maxLength: 108 }).map((path): Address => ({ kind: 'unix', path: Buffer.from(path) })),
);
const kind = <T extends WireKind>(value: T) => fc.constant(value);
const K = WireKind;

const request: fc.Arbitrary<WireNetRequest> = fc.oneof(
  fc.record({
    kind: kind(K.CONNECT),
    pid: u32,
    transport: fc.constantFrom(...Object.values(WireTransport)),
    isNonBlocking: fc.boolean(),
    peer: address,
  }),
  fc.record({ kind: kind(K.UDP_OPEN), pid: u32, family: fc.constantFrom(4 as const, 6 as const) }),
  fc.record({ kind: kind(K.UDP_PEER), flow: u64, peer: address }),
  fc.record({ kind: kind(K.FLOW_ADDRESS), flow: u64 }),
  fc.record({ kind: kind(K.FLOW_CREDIT), bytes: u32 }),
  fc.record({ kind: kind(K.FLOW_HALF_CLOSE) }),
  fc.record({ kind: kind(K.FLOW_RESET), errno: u32 }),
);

function only(pieces: Buffer[]): WireFrame {
  const [frame, ...rest] = new WireDecoder().push(Buffer.concat(pieces));
  if (!frame || rest.length > 0) throw new Error('not one frame');
  return frame;
}

test('what the supervisor asks is what the client understands, also byte by byte', () => {
  fc.assert(
    fc.property(u64, request, (id, asked) => {
      const decoder = new WireDecoder();
      const bytes = Buffer.concat(encodeNetRequest(id, asked));
      const frames = [...bytes].flatMap((byte) => decoder.push(Buffer.of(byte)));
      expect(frames).toHaveLength(1);
      const frame = frames[0] as WireFrame;
      expect(frame.id).toBe(id);
      expect(isNetKind(frame.kind)).toBe(true);
      expect(decodeNetRequest(frame.kind, frame.body)).toEqual(asked);
    }),
  );
});

describe('what the client answers', () => {
  test('carries the addresses', () => {
    fc.assert(
      fc.property(address, fc.option(address), (local, peer) => {
        const connected = decodeReply(only(replyConnected(1n, local, peer)));
        expect([connected.result, readAddress(connected.rest), readAddress(connected.rest)]).toEqual([0, local, peer]);
        const here = decodeReply(only(replyHere(1n, peer)));
        expect([here.result, readAddress(here.rest)]).toEqual([WIRE_LOCAL, peer]);
        const named = decodeReply(only(replyFlowAddress(1n, local)));
        expect([named.result, readAddress(named.rest)]).toEqual([0, local]);
        for (const { rest } of [connected, here, named]) rest.end();
      }),
    );
  });

  test('and sends of flows is what was meant', () => {
    const data = Buffer.from('data');
    expect(only(flowData(7n, data))).toEqual({ kind: K.FLOW_DATA, id: 7n, body: data });
    expect(flowData(7n, data).at(-1)?.buffer).toBe(data.buffer);
    const from = internet(Buffer.of(10, 0, 0, 1), 53);
    expect(readDatagram(only(flowDatagram(7n, from, data)).body)).toEqual({ peer: from, data });
    expect(readDatagram(only(flowDatagram(7n, null, Buffer.alloc(0))).body)).toEqual({
      peer: null,
      data: Buffer.alloc(0),
    });
    const credit = only(flowCredit(7n, 5));
    expect(decodeNetRequest(credit.kind, credit.body)).toEqual({ kind: K.FLOW_CREDIT, bytes: 5 });
    const half = only(flowHalfClose(7n));
    expect(decodeNetRequest(half.kind, half.body)).toEqual({ kind: K.FLOW_HALF_CLOSE });
    const reset = only(flowReset(7n, 111));
    expect(decodeNetRequest(reset.kind, reset.body)).toEqual({ kind: K.FLOW_RESET, errno: 111 });
  });
});

test('a v4-mapped address is the IPv4 address that it means', () => {
  const mapped = Buffer.from('00000000000000000000ffff0a000001', 'hex');
  const body = Buffer.concat([Buffer.of(10, 53, 0), mapped, Buffer.alloc(4)]);
  expect(readDatagram(body).peer).toEqual(internet(Buffer.of(10, 0, 0, 1), 53));
});

test('bodies of noise are refused by WireError or read', () => {
  const kinds = fc.constantFrom(...Object.values(WireKind).filter(isNetKind));
  fc.assert(
    fc.property(kinds, fc.uint8Array({ maxLength: 150 }), (one, noise) => {
      for (const read of [() => decodeNetRequest(one, Buffer.from(noise)), () => readDatagram(Buffer.from(noise))]) {
        try {
          read();
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
      }
    }),
    { numRuns: 2000 },
  );
});
