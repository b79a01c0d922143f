// Reads whose bytes the supervisor wants laid into its memory, and those that have to be sent all the same.

import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { WireDecoder, WireKind } from '#proto/wire.ts';
import { decodeReply } from '#proto/wire-supervisor.ts';
import { Session } from '../session.ts';
import { ScriptedAgent } from '../testing/scripted-agent.ts';
import { Files } from './files.ts';
import type { Question } from './link.ts';

const BYTES = 65_536;
const CONTENT = Buffer.from('what the target has');
let agent: ScriptedAgent;
let session: Session;
let files: Files;
let folder: string;
let fd: number;

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-memory-'));
  fd = openSync(path.join(folder, 'memory'), 'w+');
  ftruncateSync(fd, BYTES);
  agent = new ScriptedAgent();
  session = await Session.open({
    dial: agent.dial,
    address: 'unix:/none',
    token: 't',
    target: { kind: 'pid', pid: 1 },
    wantsEnvironment: true,
    wantsFiles: true,
    deadlineMs: 1_000,
    onEvent: () => {},
    onLost: () => {},
  });
  files = new Files({ session, rules: { decide: (path) => ({ where: 'remote', path }) }, inlineBytes: 0 });
  const times = { accessedNs: 1n, modifiedNs: 2n, changedNs: 3n, bornNs: 0n };
  const ids = { device: 1n, inode: 5n, links: 1, uid: 0, gid: 0, specialDevice: 0n, blockSize: 4096, blocks: 0n };
  const stat = { ...ids, ...times, mode: 0o100644, size: BigInt(CONTENT.length) };
  agent.script = (operation) =>
    operation.$case === 'open'
      ? { result: { $case: 'opened', value: { handle: 6, stat } } }
      : { data: CONTENT.subarray(Number(operation.$case === 'read' ? operation.value.offset : 0)) };
  await ask({ kind: WireKind.OPEN, pid: 1, flags: 0, mode: 0, path: Buffer.from('/f') });
});

afterEach(async () => {
  files.close();
  await session.close();
  closeSync(fd);
  rmSync(folder, { recursive: true, force: true });
});

async function ask(question: Question) {
  const pieces = await files.answer(7n, question, new AbortController().signal);
  const [frame] = new WireDecoder().push(Buffer.concat(pieces));
  if (frame === undefined) throw new Error('no whole frame');
  const { result, rest } = decodeReply(frame);
  return { result, sent: rest.rest().toString() };
}

const share = (): Question => ({ kind: WireKind.SHARE, pid: process.pid, descriptor: fd, bytes: BYTES });
const readInto = (place: bigint, handle = 6): Question => ({
  kind: WireKind.READ_INTO,
  handle,
  offset: 5n,
  length: 10,
  place,
});
const laid = () => readFileSync(path.join(folder, 'memory'));

test('the bytes are in the memory, and only their number is sent', async () => {
  expect(await ask(share())).toEqual({ result: 0, sent: '' });
  expect(await ask(readInto(4096n))).toEqual({ result: 10, sent: '' });
  expect(laid().subarray(4096, 4106).toString()).toBe(CONTENT.subarray(5, 15).toString());
});

test('without memory, or without room in it, they are sent', async () => {
  const sent = CONTENT.subarray(5, 15).toString();
  expect(await ask(readInto(0n))).toEqual({ result: 10, sent });
  await ask(share());
  expect(await ask(readInto(BigInt(BYTES - 5)))).toEqual({ result: 10, sent });
  files.close();
  expect(await ask(readInto(0n))).toEqual({ result: 10, sent });
  expect(laid()).toEqual(Buffer.alloc(BYTES));
});

test('the end of the file and errors are told as by any read', async () => {
  await ask(share());
  expect(await ask({ ...readInto(0n), offset: BigInt(CONTENT.length) } as Question)).toEqual({ result: 0, sent: '' });
  expect((await ask(readInto(0n, 99))).result).toBe(-ERRNO.EBADF);
  agent.script = () => ({ errno: ERRNO.EACCES });
  expect((await ask({ ...readInto(0n), offset: 0n } as Question)).result).toBe(-ERRNO.EACCES);
});

test('memory is taken once', async () => {
  await ask(share());
  expect((await ask(share())).result).toBe(-ERRNO.EALREADY);
});
