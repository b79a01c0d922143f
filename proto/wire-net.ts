// Messages about connections on the wire between supervisor and client (kinds 96 to 116 of layer/wire.h): what the
// supervisor asks and says, and what the client answers and says. FLOW_DATA of a stream is its body and nothing else.

import { type Address, internet } from './socket-address.ts';
import { encodeFrame, WIRE_LOCAL, WireError, WireKind, WireTransport } from './wire.ts';
import { BodyReader, BodyWriter } from './wire-body.ts';

export type WireNetRequest =
  | {
      kind: typeof WireKind.CONNECT;
      pid: number;
      transport: WireTransport;
      isNonBlocking: boolean;
      peer: Address;
    }
  | { kind: typeof WireKind.UDP_OPEN; pid: number; family: 4 | 6 }
  | { kind: typeof WireKind.UDP_PEER; flow: bigint; peer: Address }
  | { kind: typeof WireKind.FLOW_ADDRESS; flow: bigint }
  | { kind: typeof WireKind.FLOW_CREDIT; bytes: number }
  | { kind: typeof WireKind.FLOW_HALF_CLOSE }
  | { kind: typeof WireKind.FLOW_RESET; errno: number };

const AF_NONE = 0;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
/** sun_path of Linux (unix(7)). */
const UNIX_PATH_MAX = 108;

/** Is it a message about connections? */
export function isNetKind(kind: WireKind): boolean {
  return kind >= WireKind.CONNECT && kind < WireKind.BIND;
}

/** Every kind but FLOW_DATA. Throws WireError when the body does not fit the kind. Addresses share the body's memory. */
export function decodeNetRequest(kind: WireKind, body: Buffer): WireNetRequest {
  const reader = new BodyReader(body);
  const request = readRequest(kind, reader);
  reader.end();
  return request;
}

function readRequest(kind: WireKind, reader: BodyReader): WireNetRequest {
  switch (kind) {
    case WireKind.CONNECT: {
      const pid = reader.u32();
      const transport = readTransport(reader);
      return { kind, pid, transport, isNonBlocking: reader.u8() !== 0, peer: readPeer(reader) };
    }
    case WireKind.UDP_OPEN:
      return { kind, pid: reader.u32(), family: readFamily(reader) };
    case WireKind.UDP_PEER:
      return { kind, flow: reader.u64(), peer: readPeer(reader) };
    case WireKind.FLOW_ADDRESS:
      return { kind, flow: reader.u64() };
    case WireKind.FLOW_CREDIT:
      return { kind, bytes: reader.u32() };
    case WireKind.FLOW_HALF_CLOSE:
      return { kind };
    case WireKind.FLOW_RESET:
      return { kind, errno: reader.u32() };
    default:
      throw new WireError(`kind ${kind} is not about connections`);
  }
}

/** The body of FLOW_DATA of a datagram socket. peer: null on a connected one. */
export function readDatagram(body: Buffer): { peer: Address | null; data: Buffer } {
  const reader = new BodyReader(body);
  const peer = readAddress(reader);
  return { peer, data: reader.rest() };
}

/** null for family 0. */
export function readAddress(reader: BodyReader): Address | null {
  const family = reader.u8();
  switch (family) {
    case AF_NONE:
      return null;
    case AF_UNIX: {
      const path = reader.str();
      if (path.length > UNIX_PATH_MAX) throw new WireError(`a unix address of ${path.length} bytes`);
      return { kind: 'unix', path };
    }
    case AF_INET: {
      const port = reader.u16();
      return internet(reader.bytes(4), port);
    }
    case AF_INET6: {
      const port = reader.u16();
      const ip = reader.bytes(16);
      return internet(ip, port, reader.u32());
    }
    default:
      throw new WireError(`an address of family ${family}`);
  }
}

export function writeAddress(body: BodyWriter, address: Address | null): BodyWriter {
  if (address === null) return body.u8(AF_NONE);
  if (address.kind === 'unix') return body.u8(AF_UNIX).str(address.path);
  if (address.ip.length === 4) return body.u8(AF_INET).u16(address.port).raw(address.ip);
  return body.u8(AF_INET6).u16(address.port).raw(address.ip).u32(address.scopeId);
}

/** Answers CONNECT and UDP_OPEN. null: not known yet. */
export function replyConnected(id: bigint, local: Address | null, peer: Address | null): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, writeAddress(writeAddress(result(0), local), peer).finish());
}

/** Answers CONNECT and UDP_PEER: it stays on this machine. null: at the address that was asked about. */
export function replyHere(id: bigint, instead: Address | null): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, writeAddress(result(WIRE_LOCAL), instead).finish());
}

export function replyFlowAddress(id: bigint, local: Address): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, writeAddress(result(0), local).finish());
}

/** The peer of a CONNECT is the target's: a non-blocking socket shall not wait for the REPLY. */
export function flowDialing(flow: bigint): Buffer[] {
  return encodeFrame(WireKind.FLOW_DIALING, flow);
}

/** Of a stream. */
export function flowData(flow: bigint, data: Uint8Array): Buffer[] {
  return encodeFrame(WireKind.FLOW_DATA, flow, data);
}

/** peer: where it came from; null on a connected socket. */
export function flowDatagram(flow: bigint, peer: Address | null, data: Uint8Array): Buffer[] {
  return encodeFrame(WireKind.FLOW_DATA, flow, writeAddress(new BodyWriter(32), peer).finish(), data);
}

export function flowCredit(flow: bigint, bytes: number): Buffer[] {
  return encodeFrame(WireKind.FLOW_CREDIT, flow, new BodyWriter(4).u32(bytes).finish());
}

export function flowHalfClose(flow: bigint): Buffer[] {
  return encodeFrame(WireKind.FLOW_HALF_CLOSE, flow);
}

export function flowReset(flow: bigint, errno: number): Buffer[] {
  return encodeFrame(WireKind.FLOW_RESET, flow, new BodyWriter(4).u32(errno).finish());
}

/** The supervisor's side: the frame of what decodeNetRequest reads. */
export function encodeNetRequest(id: bigint, request: WireNetRequest): Buffer[] {
  const body = new BodyWriter();
  switch (request.kind) {
    case WireKind.CONNECT:
      body.u32(request.pid).u8(request.transport);
      writeAddress(body.u8(request.isNonBlocking ? 1 : 0), request.peer);
      break;
    case WireKind.UDP_OPEN:
      body.u32(request.pid).u8(request.family === 4 ? AF_INET : AF_INET6);
      break;
    case WireKind.UDP_PEER:
      writeAddress(body.u64(request.flow), request.peer);
      break;
    case WireKind.FLOW_ADDRESS:
      body.u64(request.flow);
      break;
    case WireKind.FLOW_CREDIT:
      body.u32(request.bytes);
      break;
    case WireKind.FLOW_RESET:
      body.u32(request.errno);
      break;
  }
  return encodeFrame(request.kind, id, body.finish());
}

export function readTransport(reader: BodyReader): WireTransport {
  const transport = reader.u8();
  for (const known of Object.values(WireTransport)) if (known === transport) return known;
  throw new WireError(`unknown transport ${transport}`);
}

function readFamily(reader: BodyReader): 4 | 6 {
  const family = reader.u8();
  if (family === AF_INET) return 4;
  if (family === AF_INET6) return 6;
  throw new WireError(`a datagram socket of family ${family}`);
}

export function readPeer(reader: BodyReader): Address {
  const peer = readAddress(reader);
  if (peer === null) throw new WireError('a peer without an address');
  return peer;
}

function result(value: number): BodyWriter {
  return new BodyWriter(64).i32(value);
}
