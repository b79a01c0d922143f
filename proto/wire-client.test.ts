import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RuleOp, RuleVerdict, WireDecoder, type WireFrame, WireKind, WireOpened } from './wire.ts';
import type { WireStat } from './wire-body.ts';
import {
  decodeRequest,
  replyDecide,
  replyOpenedHandle,
  replyOpenedInline,
  replyOpenedMapped,
  replyRead,
  replyReadDir,
  replyReadLink,
  replyResult,
  replyStat,
  replyStatFs,
  setupFrame,
  type WireRequest,
} from './wire-client.ts';
import {
  decodeReply,
  decodeSetup,
  encodeRequest,
  readDecision,
  readDirectory,
  readOpened,
  readStat,
  readStatFs,
  readStr,
} from './wire-supervisor.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
// Paths need not be UTF-8.
const bytes = fc.uint8Array({ maxLength: 100 }).map((array) => Buffer.from(array));
const text = fc.string({ maxLength: 50, unit: 'grapheme' });
const stat: fc.Arbitrary<WireStat> = fc.record({
  device: u64,
  inode: u64,
  mode: u32,
  links: u32,
  uid: u32,
  gid: u32,
  specialDevice: u64,
  size: u64,
  blockSize: u32,
  blocks: u64,
  accessedNs: i64,
  modifiedNs: i64,
  changedNs: i64,
  bornNs: i64,
});
const set = fc.record({ valid: u32, mode: u32, uid: u32, gid: u32, size: u64, accessedNs: i64, modifiedNs: i64 });
const kind = <T extends WireKind>(value: T) => fc.constant(value);
const K = WireKind;

const request: fc.Arbitrary<WireRequest> = fc.oneof(
  fc.record({ kind: kind(K.HELLO), version: u32, capabilities: u32, lines: fc.array(text, { maxLength: 5 }) }),
  fc.record({ kind: kind(K.STARTED), pid: u32 }),
  fc.record({ kind: kind(K.LOG), level: fc.nat(3), text }),
  fc.record({ kind: kind(K.CANCEL) }),
  fc.record({ kind: kind(K.FAILED), result: fc.integer(), what: text }),
  fc.record({ kind: kind(K.ENDED), status: u32, left: u32 }),
  fc.record({ kind: kind(K.OPEN), pid: u32, flags: u32, mode: u32, path: bytes }),
  fc.record({ kind: kind(K.STAT), flags: u32, path: bytes }),
  fc.record({ kind: kind(K.ACCESS), mode: u32, flags: u32, path: bytes }),
  fc.record({ kind: fc.constantFrom(K.READLINK, K.STATFS, K.RMDIR, K.UNLINK), path: bytes }),
  fc.record({ kind: kind(K.MKDIR), mode: u32, path: bytes }),
  fc.record({ kind: fc.constantFrom(K.RENAME, K.LINK), flags: u32, from: bytes, to: bytes }),
  fc.record({ kind: kind(K.SYMLINK), target: bytes, path: bytes }),
  fc.record({ kind: kind(K.SETATTR), flags: u32, set, path: bytes }),
  fc.record({ kind: kind(K.DECIDE), isWrite: fc.boolean(), path: bytes }),
  fc.record({ kind: kind(K.READ), handle: u32, offset: u64, length: u32 }),
  fc.record({ kind: kind(K.READ_FOR), handle: u32, offset: u64, length: u32, unique: u64 }),
  fc.record({ kind: kind(K.WRITE), handle: u32, offset: u64, data: bytes }),
  fc.record({ kind: fc.constantFrom(K.FSTAT, K.FSTATFS, K.RELEASE), handle: u32 }),
  fc.record({ kind: kind(K.FSETATTR), handle: u32, set }),
  fc.record({ kind: kind(K.FSYNC), handle: u32, isDataOnly: fc.boolean() }),
  fc.record({ kind: kind(K.READDIR), handle: u32, cookie: u64, entries: u32 }),
) as fc.Arbitrary<WireRequest>;

function only(pieces: Buffer[]): WireFrame {
  const [frame, ...rest] = new WireDecoder().push(Buffer.concat(pieces));
  if (!frame || rest.length > 0) throw new Error('not one frame');
  return frame;
}

function reply<T>(pieces: Buffer[], read: (rest: ReturnType<typeof decodeReply>['rest']) => T): T {
  const { result, rest } = decodeReply(only(pieces));
  expect(result).toBe(0);
  return read(rest);
}

describe('what the supervisor asks', () => {
  test('is what the client understands', () => {
    fc.assert(
      fc.property(u64, request, (id, asked) => {
        const frame = only(encodeRequest(id, asked));
        expect(frame.id).toBe(id);
        expect(decodeRequest(frame.kind, frame.body)).toEqual(asked);
      }),
      { numRuns: 500 },
    );
  });
});

describe('what the client answers', () => {
  test('an open, in each of its ways', () => {
    fc.assert(
      fc.property(u32, stat, bytes, (handle, shown, content) => {
        expect(reply(replyOpenedHandle(1n, handle, shown), readOpened)).toEqual({
          how: WireOpened.HANDLE,
          handle,
          stat: shown,
        });
        expect(reply(replyOpenedInline(1n, shown, content), readOpened)).toEqual({
          how: WireOpened.INLINE,
          stat: shown,
          content,
        });
        expect(reply(replyOpenedMapped(1n, content), readOpened)).toEqual({ how: WireOpened.MAPPED, path: content });
      }),
    );
  });

  test('stats, links and decisions', () => {
    const statFs = fc.record({
      type: u64,
      blockSize: u64,
      blocks: u64,
      blocksFree: u64,
      blocksAvailable: u64,
      files: u64,
      filesFree: u64,
      id: u64,
      nameLength: u32,
      fragmentSize: u64,
      flags: u64,
    });
    fc.assert(
      fc.property(stat, statFs, bytes, (shown, fileSystem, path) => {
        expect(reply(replyStat(1n, shown), readStat)).toEqual(shown);
        expect(reply(replyStatFs(1n, fileSystem), readStatFs)).toEqual(fileSystem);
        expect(reply(replyReadLink(1n, path), readStr)).toEqual(path);
        const decision = { verdict: RuleVerdict.MAPPED, path };
        expect(reply(replyDecide(1n, decision.verdict, path), readDecision)).toEqual(decision);
        expect(reply(replyDecide(1n, RuleVerdict.LOCAL), readDecision).path).toHaveLength(0);
      }),
    );
  });

  test('a page of a directory, with stats and without', () => {
    const entry = fc.record({
      inode: u64,
      cookie: u64,
      type: fc.nat(255),
      name: bytes,
      stat: fc.option(stat, { nil: undefined }),
    });
    const page = fc.record({ next: u64, isLast: fc.boolean(), entries: fc.array(entry, { maxLength: 20 }) });
    fc.assert(
      fc.property(page, (shown) => {
        expect(reply(replyReadDir(1n, shown), readDirectory)).toEqual(shown);
      }),
    );
  });

  test('bytes without copying them, and results with nothing', () => {
    const data = Buffer.alloc(262_144, 1);
    const pieces = replyRead(9n, data);
    expect(pieces.at(-1)?.buffer).toBe(data.buffer);
    const { result, rest } = decodeReply(only(pieces));
    expect(result).toBe(data.length);
    expect(rest.rest().equals(data)).toBe(true);
    expect(decodeReply(only(replyResult(9n, -2))).result).toBe(-2);
  });

  test('the setup, with every rule as it was', () => {
    const rule = fc.record({
      op: fc.constantFrom(...Object.values(RuleOp)),
      verdict: fc.constantFrom(RuleVerdict.LOCAL, RuleVerdict.REMOTE_READS, RuleVerdict.REMOTE, RuleVerdict.ASK),
      foldCase: fc.boolean(),
      relative: fc.boolean(),
      readsOnly: fc.boolean(),
      literal: bytes,
    });
    const setup = fc.record({
      features: u32,
      inlineBytes: u32,
      hostName: bytes,
      rules: fc.array(rule, { maxLength: 50 }),
    });
    fc.assert(
      fc.property(setup, (shown) => {
        expect(decodeSetup(only(setupFrame(shown)))).toEqual(shown);
      }),
    );
  });
});
