// A file stands in for the device: what the kernel would be told is what is in it.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { WireDecoder, WireKind } from '#proto/wire.ts';
import { decodeReply } from '#proto/wire-supervisor.ts';
import { Session } from '../session.ts';
import { ScriptedAgent } from '../testing/scripted-agent.ts';
import { Files } from './files.ts';
import { KernelAnswers } from './kernel-answers.ts';
import type { Question } from './link.ts';

const CONTENT = Buffer.from('what the target has');
const HEADER_BYTES = 16;
let folder: string;
let file: string;
let kernel: KernelAnswers;
const opened: { close(): unknown }[] = [];

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-kernel-'));
  file = path.join(folder, 'device');
  writeFileSync(file, '');
  kernel = KernelAnswers.open(file) as KernelAnswers;
});

afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
  kernel.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Each answer as struct fuse_out_header has it. */
function told() {
  const bytes = readFileSync(file);
  const answers: { error: number; unique: bigint; data: string }[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at)) {
    const data = bytes.subarray(at + HEADER_BYTES, at + bytes.readUInt32LE(at)).toString();
    answers.push({ error: bytes.readInt32LE(at + 4), unique: bytes.readBigUInt64LE(at + 8), data });
  }
  return answers;
}

async function openFiles(withKernel: KernelAnswers | null) {
  const agent = new ScriptedAgent();
  const session = await Session.open({
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
  const rules = { decide: (path: string) => ({ where: 'remote' as const, path }) };
  const files = new Files({ session, rules, inlineBytes: 0, kernel: withKernel });
  opened.push(session, files);
  const times = { accessedNs: 1n, modifiedNs: 2n, changedNs: 3n, bornNs: 0n };
  const ids = { device: 1n, inode: 5n, links: 1, uid: 0, gid: 0, specialDevice: 0n, blockSize: 4096, blocks: 0n };
  const stat = { ...ids, ...times, mode: 0o100644, size: BigInt(CONTENT.length) };
  agent.script = (operation) =>
    operation.$case === 'open'
      ? { result: { $case: 'opened', value: { handle: 6, stat } } }
      : { data: CONTENT.subarray(Number(operation.$case === 'read' ? operation.value.offset : 0)) };
  const ask = async (question: Question) => {
    const pieces = await files.answer(7n, question, new AbortController().signal);
    const [frame] = new WireDecoder().push(Buffer.concat(pieces));
    if (frame === undefined) throw new Error('no whole frame');
    const { result, rest } = decodeReply(frame);
    return { result, sent: rest.rest().toString() };
  };
  await ask({ kind: WireKind.OPEN, pid: 1, flags: 0, mode: 0, path: Buffer.from('/f') });
  return { ask, agent, files };
}

const readFor = (unique: bigint, offset = 5n, handle = 6): Question => ({
  kind: WireKind.READ_FOR,
  handle,
  offset,
  length: 10,
  unique,
});

test('an answer is its header and the chunks, in order, in one', () => {
  expect(kernel.give(2n ** 63n + 5n, 6, [Buffer.from('abc'), Buffer.from('def')])).toBe(true);
  const many = Array.from({ length: 3_000 }, (_, index) => Buffer.from(`${index % 10}`));
  expect(kernel.give(8n, many.length, many)).toBe(true);
  expect(told()).toEqual([
    { error: 0, unique: 2n ** 63n + 5n, data: 'abcdef' },
    { error: 0, unique: 8n, data: Buffer.concat(many).toString() },
  ]);
});

test('what cannot be given is said', () => {
  kernel.close();
  kernel.close();
  expect(kernel.give(8n, 1, [Buffer.from('a')])).toBe(false);
  expect(KernelAnswers.open(path.join(folder, 'none'))).toBeNull();
});

test('the kernel has the bytes of a read, and the supervisor their number', async () => {
  const { ask } = await openFiles(kernel);
  expect(await ask(readFor(77n))).toEqual({ result: 10, sent: '' });
  expect(told()).toEqual([{ error: 0, unique: 77n, data: CONTENT.subarray(5, 15).toString() }]);
});

test('the end of the file, errors and a device that is closed are the supervisor’s to tell', async () => {
  const { ask, agent, files } = await openFiles(kernel);
  expect(await ask(readFor(1n, BigInt(CONTENT.length)))).toEqual({ result: 0, sent: '' });
  expect((await ask(readFor(2n, 5n, 99))).result).toBe(-ERRNO.EBADF);
  files.close();
  expect(await ask(readFor(4n))).toEqual({ result: 10, sent: CONTENT.subarray(5, 15).toString() });
  agent.script = () => ({ errno: ERRNO.EACCES });
  expect((await ask(readFor(3n, 0n))).result).toBe(-ERRNO.EACCES);
  expect(told()).toEqual([]);
});

test('without a device the bytes are sent', async () => {
  const { ask } = await openFiles(null);
  expect(await ask(readFor(9n))).toEqual({ result: 10, sent: CONTENT.subarray(5, 15).toString() });
});
