// The client's side of the wire: reads what the supervisor says and asks, writes SETUP and the answers. Every answer is
// returned as the pieces to write in order (see encodeFrame).

import { encodeFrame, RuleFlag, type RuleOp, type RuleVerdict, WireError, WireKind, WireOpened } from './wire.ts';
import {
  BodyReader,
  BodyWriter,
  type WireDirectoryEntry,
  type WireSetAttributes,
  type WireStat,
  type WireStatFs,
} from './wire-body.ts';

export interface WireRule {
  op: RuleOp;
  verdict: RuleVerdict;
  foldCase: boolean;
  relative: boolean;
  readsOnly: boolean;
  literal: Uint8Array;
}

/** What the supervisor says or asks. Byte fields share memory with the frame's body. */
export type WireRequest =
  | { kind: typeof WireKind.HELLO; version: number; capabilities: number; lines: string[] }
  | { kind: typeof WireKind.STARTED; pid: number }
  | { kind: typeof WireKind.LOG; level: number; text: string }
  | { kind: typeof WireKind.CANCEL }
  | { kind: typeof WireKind.FAILED; result: number; what: string }
  | { kind: typeof WireKind.ENDED; status: number; left: number }
  | { kind: typeof WireKind.OPEN; pid: number; flags: number; mode: number; path: Buffer }
  | { kind: typeof WireKind.STAT; flags: number; path: Buffer }
  | { kind: typeof WireKind.ACCESS; mode: number; flags: number; path: Buffer }
  | { kind: typeof WireKind.READLINK; path: Buffer }
  | { kind: typeof WireKind.STATFS; path: Buffer }
  | { kind: typeof WireKind.MKDIR; mode: number; path: Buffer }
  | { kind: typeof WireKind.RMDIR; path: Buffer }
  | { kind: typeof WireKind.UNLINK; path: Buffer }
  | { kind: typeof WireKind.RENAME; flags: number; from: Buffer; to: Buffer }
  | { kind: typeof WireKind.SYMLINK; target: Buffer; path: Buffer }
  | { kind: typeof WireKind.LINK; flags: number; from: Buffer; to: Buffer }
  | { kind: typeof WireKind.SETATTR; flags: number; set: WireSetAttributes; path: Buffer }
  | { kind: typeof WireKind.DECIDE; isWrite: boolean; path: Buffer }
  | { kind: typeof WireKind.READ; handle: number; offset: bigint; length: number }
  | { kind: typeof WireKind.READ_FOR; handle: number; offset: bigint; length: number; unique: bigint }
  | { kind: typeof WireKind.WRITE; handle: number; offset: bigint; data: Buffer }
  | { kind: typeof WireKind.FSTAT; handle: number }
  | { kind: typeof WireKind.FSETATTR; handle: number; set: WireSetAttributes }
  | { kind: typeof WireKind.FSYNC; handle: number; isDataOnly: boolean }
  | { kind: typeof WireKind.READDIR; handle: number; cookie: bigint; entries: number }
  | { kind: typeof WireKind.FSTATFS; handle: number }
  | { kind: typeof WireKind.RELEASE; handle: number };

/** Throws WireError when the body does not fit the kind, or the kind is one that only the client sends. */
export function decodeRequest(kind: WireKind, body: Buffer): WireRequest {
  const reader = new BodyReader(body);
  const request =
    kind < WireKind.OPEN
      ? readNote(kind, reader)
      : kind < WireKind.READ
        ? readPath(kind, reader)
        : readHandle(kind, reader);
  reader.end();
  return request;
}

function readNote(kind: WireKind, reader: BodyReader): WireRequest {
  switch (kind) {
    case WireKind.HELLO: {
      const hello = { kind, version: reader.u32(), capabilities: reader.u32(), lines: [] as string[] };
      // Bounded by the body, whatever the count claims: each line takes at least two bytes of it.
      for (let left = reader.u32(); left > 0; left--) hello.lines.push(reader.str().toString());
      return hello;
    }
    case WireKind.STARTED:
      return { kind, pid: reader.u32() };
    case WireKind.LOG:
      return { kind, level: reader.u8(), text: reader.str().toString() };
    case WireKind.CANCEL:
      return { kind };
    case WireKind.FAILED:
      return { kind, result: reader.i32(), what: reader.str().toString() };
    case WireKind.ENDED:
      return { kind, status: reader.u32(), left: reader.u32() };
    default:
      throw new WireError(`kind ${kind} is not for the client`);
  }
}

function readPath(kind: WireKind, reader: BodyReader): WireRequest {
  switch (kind) {
    case WireKind.OPEN:
      return { kind, pid: reader.u32(), flags: reader.u32(), mode: reader.u32(), path: reader.str() };
    case WireKind.STAT:
      return { kind, flags: reader.u32(), path: reader.str() };
    case WireKind.ACCESS:
      return { kind, mode: reader.u32(), flags: reader.u32(), path: reader.str() };
    case WireKind.READLINK:
    case WireKind.STATFS:
    case WireKind.RMDIR:
    case WireKind.UNLINK:
      return { kind, path: reader.str() };
    case WireKind.MKDIR:
      return { kind, mode: reader.u32(), path: reader.str() };
    case WireKind.RENAME:
    case WireKind.LINK:
      return { kind, flags: reader.u32(), from: reader.str(), to: reader.str() };
    case WireKind.SYMLINK:
      return { kind, target: reader.str(), path: reader.str() };
    case WireKind.SETATTR:
      return { kind, flags: reader.u32(), set: reader.setAttributes(), path: reader.str() };
    case WireKind.DECIDE:
      return { kind, isWrite: reader.u8() !== 0, path: reader.str() };
    default:
      throw new WireError(`kind ${kind} is not for the client`);
  }
}

function readHandle(kind: WireKind, reader: BodyReader): WireRequest {
  const handle = reader.u32();
  switch (kind) {
    case WireKind.READ:
      return { kind, handle, offset: reader.u64(), length: reader.u32() };
    case WireKind.READ_FOR:
      return { kind, handle, offset: reader.u64(), length: reader.u32(), unique: reader.u64() };
    case WireKind.WRITE:
      return { kind, handle, offset: reader.u64(), data: reader.rest() };
    case WireKind.FSTAT:
    case WireKind.FSTATFS:
    case WireKind.RELEASE:
      return { kind, handle };
    case WireKind.FSETATTR:
      return { kind, handle, set: reader.setAttributes() };
    case WireKind.FSYNC:
      return { kind, handle, isDataOnly: reader.u8() !== 0 };
    case WireKind.READDIR:
      return { kind, handle, cookie: reader.u64(), entries: reader.u32() };
    default:
      throw new WireError(`kind ${kind} is not for the client`);
  }
}

export interface Setup {
  /** WireFeature, any of them. */
  features: number;
  /** Open answers small read-only files with their content up to this size. */
  inlineBytes: number;
  /** What uname(2) says, at most 64 bytes; empty: this machine's. */
  hostName: Uint8Array;
  /** At most 65,535. */
  rules: readonly WireRule[];
}

export function setupFrame(setup: Setup): Buffer[] {
  const body = new BodyWriter(4096).u32(setup.features).u32(setup.inlineBytes);
  body.str(setup.hostName).u16(setup.rules.length);
  for (const rule of setup.rules) {
    const flags =
      (rule.foldCase ? RuleFlag.FOLD_CASE : 0) |
      (rule.relative ? RuleFlag.RELATIVE : 0) |
      (rule.readsOnly ? RuleFlag.READS_ONLY : 0);
    body.u8(rule.op).u8(rule.verdict).u8(flags).u8(0).str(rule.literal);
  }
  return encodeFrame(WireKind.SETUP, 0n, body.finish());
}

/** An answer that is only a result: 0, the bytes written, -errno or WIRE_LOCAL. */
export function replyResult(id: bigint, result: number): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(result).finish());
}

export function replyOpenedHandle(id: bigint, handle: number, stat: WireStat): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(0).u8(WireOpened.HANDLE).u32(handle).stat(stat).finish());
}

export function replyOpenedInline(id: bigint, stat: WireStat, content: Uint8Array): Buffer[] {
  const head = answer(0).u8(WireOpened.INLINE).stat(stat).u32(content.length).finish();
  return encodeFrame(WireKind.REPLY, id, head, content);
}

export function replyOpenedMapped(id: bigint, path: Uint8Array): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(0).u8(WireOpened.MAPPED).str(path).finish());
}

/** Answers STAT, FSTAT, SETATTR and FSETATTR. */
export function replyStat(id: bigint, stat: WireStat): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(0).stat(stat).finish());
}

export function replyStatFs(id: bigint, statFs: WireStatFs): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(0).statFs(statFs).finish());
}

export function replyReadLink(id: bigint, target: Uint8Array): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(0).str(target).finish());
}

/** The result of a READ is the number of bytes. */
export function replyRead(id: bigint, data: Uint8Array): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(data.length).finish(), data);
}

export function replyReadDir(
  id: bigint,
  page: { next: bigint; isLast: boolean; entries: readonly WireDirectoryEntry[] },
): Buffer[] {
  const body = new BodyWriter(256 + page.entries.length * 144).i32(0);
  body
    .u64(page.next)
    .u8(page.isLast ? 1 : 0)
    .u32(page.entries.length);
  for (const entry of page.entries) body.directoryEntry(entry);
  return encodeFrame(WireKind.REPLY, id, body.finish());
}

/** path: only with the verdict MAPPED. */
export function replyDecide(id: bigint, verdict: RuleVerdict, path: Uint8Array = new Uint8Array()): Buffer[] {
  return encodeFrame(WireKind.REPLY, id, answer(0).u8(verdict).str(path).finish());
}

function answer(result: number): BodyWriter {
  return new BodyWriter().i32(result);
}
