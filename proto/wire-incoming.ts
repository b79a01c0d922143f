// Messages about connections that arrive, on the wire between supervisor and client (kinds 128 to 138 of layer/wire.h):
// sockets of the local process that listen, and the connections that the client makes to them.

import type { Address } from './socket-address.ts';
import { encodeFrame, WIRE_LOCAL, WireError, WireKind, type WireTransport } from './wire.ts';
import { BodyReader, BodyWriter } from './wire-body.ts';
import { replyResult } from './wire-client.ts';
import { readPeer, readTransport, writeAddress } from './wire-net.ts';

export type WireIncomingRequest =
  | { kind: typeof WireKind.BIND; pid: number; transport: WireTransport; asked: Address }
  | {
      kind: typeof WireKind.LISTEN;
      pid: number;
      /** Names the socket until LISTEN_CLOSED. */
      listener: bigint;
      transport: WireTransport;
      /** An IPv6 socket that IPv4 does not reach. */
      isV6Only: boolean;
      asked: Address;
      /** Where it listens on this machine. */
      actual: Address;
    }
  | { kind: typeof WireKind.LISTEN_CLOSED; listener: bigint }
  | { kind: typeof WireKind.ARRIVAL_KNOWN };

export function isIncomingKind(kind: WireKind): boolean {
  return kind >= WireKind.BIND;
}

/** Throws WireError when the body does not fit the kind. Addresses share the body's memory. */
export function decodeIncomingRequest(kind: WireKind, body: Buffer): WireIncomingRequest {
  const reader = new BodyReader(body);
  const request = readRequest(kind, reader);
  reader.end();
  return request;
}

function readRequest(kind: WireKind, reader: BodyReader): WireIncomingRequest {
  switch (kind) {
    case WireKind.BIND: {
      const pid = reader.u32();
      const transport = readTransport(reader);
      return { kind, pid, transport, asked: readPeer(reader) };
    }
    case WireKind.LISTEN: {
      const pid = reader.u32();
      const listener = reader.u64();
      const transport = readTransport(reader);
      const isV6Only = reader.u8() !== 0;
      const asked = readPeer(reader);
      return { kind, pid, listener, transport, isV6Only, asked, actual: readPeer(reader) };
    }
    case WireKind.LISTEN_CLOSED:
      return { kind, listener: reader.u64() };
    case WireKind.ARRIVAL_KNOWN:
      return { kind };
    default:
      throw new WireError(`kind ${kind} is not about connections that arrive`);
  }
}

/** Answers BIND. null: as asked, or nearby. */
export function replyBind(id: bigint, exactly: Address | null): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, writeAddress(new BodyWriter(64).i32(0), exactly).finish());
}

/** Answers BIND and LISTEN: the socket is this machine's alone. */
export function replyOwn(id: bigint): Buffer[] {
  return replyResult(id, WIRE_LOCAL);
}

/** `source` is where the client connects from; the process sees `peer` and `local`. */
export function arrival(id: bigint, source: Address, peer: Address, local: Address): Buffer[] {
  const body = writeAddress(new BodyWriter(96), source);
  return encodeFrame(WireKind.ARRIVAL, id, writeAddress(writeAddress(body, peer), local).finish());
}

export function arrivalOver(source: Address): Buffer[] {
  return encodeFrame(WireKind.ARRIVAL_OVER, 0n, writeAddress(new BodyWriter(32), source).finish());
}

/** The supervisor's side: the frame of what decodeIncomingRequest reads. */
export function encodeIncomingRequest(id: bigint, request: WireIncomingRequest): Buffer[] {
  const body = new BodyWriter();
  switch (request.kind) {
    case WireKind.BIND:
      writeAddress(body.u32(request.pid).u8(request.transport), request.asked);
      break;
    case WireKind.LISTEN:
      body.u32(request.pid).u64(request.listener).u8(request.transport);
      writeAddress(writeAddress(body.u8(request.isV6Only ? 1 : 0), request.asked), request.actual);
      break;
    case WireKind.LISTEN_CLOSED:
      body.u64(request.listener);
      break;
    case WireKind.ARRIVAL_KNOWN:
      break;
  }
  return encodeFrame(request.kind, id, body.finish());
}
