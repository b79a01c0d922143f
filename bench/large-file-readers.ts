// The two readers of one large remote file: `dd` through mirrord, and the same bytes asked for on the same kind of session by a
// process as young as mirrord's client, without a layer.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Session } from '../client/session.ts';
import { dial } from '../proto/dial.ts';
import { mintToken, newSessionId, parseSessionKey } from '../proto/token.ts';
import type { Whole } from '../test/fixtures/whole.ts';

const FILE = '/srv/large.bin';
const READ_BYTES = 256 * 1024;
const READS_IN_FLIGHT = 12;

export interface Order {
  readonly address: string;
  readonly keyFile: string;
  readonly pid: number;
  readonly bytes: number;
}

/** Makes the file. */
export function orderOf(whole: Whole, address: string, bytes: number): Order {
  const file = path.join(whole.target.root, FILE);
  mkdirSync(path.dirname(file), { recursive: true });
  const fd = openSync(file, 'w');
  ftruncateSync(fd, bytes);
  closeSync(fd);
  return { address, keyFile: path.join(whole.base, 'key'), pid: whole.target.pid, bytes };
}

/** By the reader's own clock: the start of mirrord is not in it. */
export async function readThroughLayer(whole: Whole, { address, bytes }: Order): Promise<number> {
  const count = `count=${bytes / READ_BYTES}`;
  const { code, stdout, stderr } = await whole.exec(['dd', `if=${FILE}`, 'of=/dev/null', 'bs=256K', count], {
    variables: { MIRRORD_AGENT_ADDRESS: address, LC_ALL: 'C' },
    deadlineMs: 600_000,
  });
  const [, copied, seconds] = /^(\d+) bytes.* copied, ([\d.e+-]+) s/m.exec(stderr) ?? [];
  if (code !== 0 || Number(copied) !== bytes) throw new Error(`dd ended with ${code}: ${stdout}${stderr}`);
  return Number(seconds) * 1000;
}

export async function readPlain(order: Order): Promise<number> {
  const child: ChildProcess = fork(fileURLToPath(import.meta.url), {
    env: { ...process.env, BENCH_ORDER: JSON.stringify(order) },
  });
  const [ms] = (await once(child, 'message')) as [number];
  if (child.exitCode === null) await once(child, 'exit');
  return ms;
}

async function runPlain({ address, keyFile, pid, bytes }: Order): Promise<void> {
  const key = parseSessionKey(readFileSync(keyFile, 'utf8'));
  const session = await Session.open({
    dial,
    address,
    token: mintToken(key, newSessionId(), 60),
    target: { kind: 'pid', pid },
    wantsEnvironment: false,
    wantsFiles: true,
    deadlineMs: 10_000,
    onEvent: () => {},
    onLost: () => {},
  });
  const startedAt = performance.now();
  await copy(session, bytes);
  process.send?.(performance.now() - startedAt);
  await session.close();
  process.disconnect();
}

async function copy(session: Session, bytes: number): Promise<void> {
  const open = { path: Buffer.from(FILE), flags: 0, mode: 0, inlineBytes: 0 };
  const { reply } = await session.request({ $case: 'open', value: open });
  if (reply.result?.$case !== 'opened') throw new Error(`open: errno ${reply.errno}`);
  const { handle } = reply.result.value;
  let offset = 0;
  let received = 0;
  const readOn = async () => {
    while (offset < bytes) {
      const value = { handle, offset: BigInt(offset), length: READ_BYTES };
      offset += READ_BYTES;
      const { data } = await session.request({ $case: 'read', value });
      received += data.length;
    }
  };
  await Promise.all(Array.from({ length: READS_IN_FLIGHT }, readOn));
  session.tell({ $case: 'close', value: { handle } });
  if (received !== bytes) throw new Error(`received ${received} bytes`);
}

/** True in the process that `readPlain` has started: it has read. */
export async function isPlainReader(): Promise<boolean> {
  const order = process.env['BENCH_ORDER'];
  if (order === undefined) return false;
  await runPlain(JSON.parse(order) as Order);
  return true;
}
