// The supervisor's side of the wire in TypeScript: what a scripted peer needs to stand in for the native supervisor in
// tests, and what proves that wire-client.ts and layer/wire.c mean the same.

import { encodeFrame, RuleFlag, RuleOp, RuleVerdict, WireError, type WireFrame, WireKind, WireOpened } from './wire.ts';
import { BodyReader, BodyWriter, type WireDirectoryEntry, type WireStat, type WireStatFs } from './wire-body.ts';
import type { WireRequest, WireRule } from './wire-client.ts';

/** The frame of a request or note, as the pieces to write in order. */
export function encodeRequest(id: bigint, request: WireRequest): Buffer[] {
  const body = new BodyWriter();
  if (request.kind === WireKind.WRITE) {
    return encodeFrame(request.kind, id, body.u32(request.handle).u64(request.offset).finish(), request.data);
  }
  if (request.kind < WireKind.OPEN) writeNote(request, body);
  else if (request.kind < WireKind.READ) writePath(request, body);
  else writeHandle(request, body);
  return encodeFrame(request.kind, id, body.finish());
}

function writeNote(request: WireRequest, body: BodyWriter): void {
  switch (request.kind) {
    case WireKind.HELLO:
      body.u32(request.version).u32(request.capabilities).u32(request.lines.length);
      for (const line of request.lines) body.str(Buffer.from(line));
      return;
    case WireKind.STARTED:
      body.u32(request.pid);
      return;
    case WireKind.LOG:
      body.u8(request.level).str(Buffer.from(request.text));
      return;
    case WireKind.FAILED:
      body.i32(request.result).str(Buffer.from(request.what));
      return;
    case WireKind.ENDED:
      body.u32(request.status).u32(request.left);
      return;
  }
}

function writePath(request: WireRequest, body: BodyWriter): void {
  switch (request.kind) {
    case WireKind.OPEN:
      body.u32(request.pid).u32(request.flags).u32(request.mode).str(request.path);
      return;
    case WireKind.STAT:
      body.u32(request.flags).str(request.path);
      return;
    case WireKind.ACCESS:
      body.u32(request.mode).u32(request.flags).str(request.path);
      return;
    case WireKind.READLINK:
    case WireKind.STATFS:
    case WireKind.RMDIR:
    case WireKind.UNLINK:
      body.str(request.path);
      return;
    case WireKind.MKDIR:
      body.u32(request.mode).str(request.path);
      return;
    case WireKind.RENAME:
    case WireKind.LINK:
      body.u32(request.flags).str(request.from).str(request.to);
      return;
    case WireKind.SYMLINK:
      body.str(request.target).str(request.path);
      return;
    case WireKind.SETATTR:
      body.u32(request.flags).setAttributes(request.set).str(request.path);
      return;
    case WireKind.DECIDE:
      body.u8(request.isWrite ? 1 : 0).str(request.path);
      return;
  }
}

function writeHandle(request: WireRequest, body: BodyWriter): void {
  switch (request.kind) {
    case WireKind.READ:
      body.u32(request.handle).u64(request.offset).u32(request.length);
      return;
    case WireKind.READ_FOR:
      body.u32(request.handle).u64(request.offset).u32(request.length).u64(request.unique);
      return;
    case WireKind.FSTAT:
    case WireKind.FSTATFS:
    case WireKind.RELEASE:
      body.u32(request.handle);
      return;
    case WireKind.FSETATTR:
      body.u32(request.handle).setAttributes(request.set);
      return;
    case WireKind.FSYNC:
      body.u32(request.handle).u8(request.isDataOnly ? 1 : 0);
      return;
    case WireKind.READDIR:
      body.u32(request.handle).u64(request.cookie).u32(request.entries);
      return;
  }
}

export interface WireSetup {
  features: number;
  inlineBytes: number;
  hostName: Buffer;
  rules: WireRule[];
}

export function decodeSetup(frame: WireFrame): WireSetup {
  if (frame.kind !== WireKind.SETUP) throw new WireError(`kind ${frame.kind} is not SETUP`);
  const reader = new BodyReader(frame.body);
  const setup: WireSetup = { features: reader.u32(), inlineBytes: reader.u32(), hostName: reader.str(), rules: [] };
  for (let left = reader.u16(); left > 0; left--) setup.rules.push(decodeRule(reader));
  reader.end();
  return setup;
}

function decodeRule(reader: BodyReader): WireRule {
  const op = oneOf(RuleOp, reader.u8());
  const verdict = oneOf(RuleVerdict, reader.u8());
  const flags = reader.u8();
  const reserved = reader.u8();
  if (flags > 7 || reserved !== 0 || verdict === RuleVerdict.MAPPED) throw new WireError('malformed rule');
  return {
    op,
    verdict,
    foldCase: (flags & RuleFlag.FOLD_CASE) !== 0,
    relative: (flags & RuleFlag.RELATIVE) !== 0,
    readsOnly: (flags & RuleFlag.READS_ONLY) !== 0,
    literal: reader.str(),
  };
}

function oneOf<T extends Record<string, number>>(values: T, value: number): T[keyof T] {
  for (const known of Object.values(values)) if (known === value) return known as T[keyof T];
  throw new WireError(`unknown value ${value}`);
}

export type WireOpenedReply =
  | { how: typeof WireOpened.HANDLE; handle: number; stat: WireStat }
  | { how: typeof WireOpened.INLINE; stat: WireStat; content: Buffer }
  | { how: typeof WireOpened.MAPPED; path: Buffer };

/** The result of a REPLY and a reader of what follows: read it by the request's kind with the functions below. */
export function decodeReply(frame: WireFrame): { result: number; rest: BodyReader } {
  if (frame.kind !== WireKind.REPLY) throw new WireError(`kind ${frame.kind} is not REPLY`);
  const rest = new BodyReader(frame.body);
  return { result: rest.i32(), rest };
}

export function readOpened(rest: BodyReader): WireOpenedReply {
  const how = oneOf(WireOpened, rest.u8());
  const opened: WireOpenedReply =
    how === WireOpened.HANDLE
      ? { how, handle: rest.u32(), stat: rest.stat() }
      : how === WireOpened.INLINE
        ? { how, stat: rest.stat(), content: rest.blob() }
        : { how, path: rest.str() };
  rest.end();
  return opened;
}

export function readStat(rest: BodyReader): WireStat {
  return ended(rest, rest.stat());
}

export function readStatFs(rest: BodyReader): WireStatFs {
  return ended(rest, rest.statFs());
}

/** The target of a READLINK. */
export function readStr(rest: BodyReader): Buffer {
  return ended(rest, rest.str());
}

export function readDirectory(rest: BodyReader): { next: bigint; isLast: boolean; entries: WireDirectoryEntry[] } {
  const page = { next: rest.u64(), isLast: rest.u8() !== 0, entries: [] as WireDirectoryEntry[] };
  for (let left = rest.u32(); left > 0; left--) page.entries.push(rest.directoryEntry());
  return ended(rest, page);
}

export function readDecision(rest: BodyReader): { verdict: RuleVerdict; path: Buffer } {
  return ended(rest, { verdict: oneOf(RuleVerdict, rest.u8()), path: rest.str() });
}

function ended<T>(rest: BodyReader, value: T): T {
  rest.end();
  return value;
}
