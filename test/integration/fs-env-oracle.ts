// The same call asked of fs-env and of the kernel inside a target (oracle.py), in one form, so that they can be compared.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { FileStat } from '../../proto/gen/v1/fs_env.ts';
import type { Files } from './fs-env-harness.ts';

/** Paths are latin-1 text: every character is a byte. */
export type Call =
  | ['open', string, number, number]
  | ['stat' | 'lstat' | 'readlink' | 'rmdir' | 'unlink', string]
  | ['access' | 'mkdir' | 'truncate' | 'chmod', string, number]
  | ['rename' | 'link', string, string, number]
  | ['symlink', string, string];

export interface Said {
  errno: number;
  /** Of stats: inode, mode, links, uid, gid, size. */
  value: unknown;
}

export class Oracle {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(pid: number) {
    const program = path.join(import.meta.dirname, '../fixtures/oracle.py');
    const child = spawn('python3', [program, String(pid)], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** One at a time. */
  async ask(call: Call): Promise<Said> {
    this.#child.stdin?.write(`${JSON.stringify(call)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the oracle has ended');
    return JSON.parse(value) as Said;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end();
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'exit');
  }
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

function described(stat: FileStat | undefined): unknown {
  if (stat === undefined) return null;
  return [Number(stat.inode), stat.mode, stat.links, stat.uid, stat.gid, Number(stat.size)];
}

/** Of fs-env, with the answer in the oracle's form. */
export async function askFiles(files: Files, call: Call): Promise<Said> {
  if (call[0] === 'open') {
    const opened = await files.open(bytes(call[1]), call[2], call[3]);
    if (opened.handle !== 0) files.close(opened.handle);
    return { errno: opened.errno, value: opened.errno === 0 ? described(opened.stat) : null };
  }
  const { reply, data } = await files.ask(operationOf(call));
  if (reply.errno !== 0) return { errno: reply.errno, value: null };
  if (call[0] === 'readlink') return { errno: 0, value: data.toString('latin1') };
  return { errno: 0, value: reply.result?.$case === 'stat' ? described(reply.result.value) : null };
}

function operationOf(call: Exclude<Call, ['open', ...unknown[]]>): Parameters<Files['ask']>[0] {
  const at = bytes(call[1]);
  const of = { $case: 'path', value: at } as const;
  switch (call[0]) {
    case 'stat':
      return { $case: 'stat', value: { of, noFollow: false } };
    case 'lstat':
      return { $case: 'stat', value: { of, noFollow: true } };
    case 'readlink':
      return { $case: 'readLink', value: { path: at } };
    case 'rmdir':
      return { $case: 'removeDir', value: { path: at } };
    case 'unlink':
      return { $case: 'unlink', value: { path: at } };
    case 'access':
      return { $case: 'access', value: { path: at, mode: call[2], flags: 0 } };
    case 'mkdir':
      return { $case: 'makeDir', value: { path: at, mode: call[2] } };
    case 'truncate':
      return { $case: 'setAttributes', value: { of, noFollow: false, size: BigInt(call[2]) } };
    case 'chmod':
      return { $case: 'setAttributes', value: { of, noFollow: false, mode: call[2] } };
    case 'rename':
      return { $case: 'rename', value: { from: at, to: bytes(call[2]), flags: call[3] } };
    case 'link':
      return { $case: 'link', value: { from: at, to: bytes(call[2]), flags: call[3] } };
    case 'symlink':
      return { $case: 'symlink', value: { target: at, path: bytes(call[2]) } };
  }
}
