// Connections over a true distance (distance.c): windows that follow it, both directions full at once, and what memory it takes
// when many readers stop.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type Distance, FAR, startDistance } from '../fixtures/distance.ts';
import { Whole } from '../fixtures/whole.ts';

const machine = [can.root, can.nats].find(({ yes }) => !yes) ?? can.root;
const ROUND_TRIP_MS = 100;
const MIB = 1024 * 1024;
/** Of what all connections were given beyond their beginning, their beginnings, and the blocks that bytes come in. */
const STOPPED_BYTES = (32 + 12 + 20 + 16 + 60) * MIB;

describe.skipIf(!machine.yes)(`connections at ${ROUND_TRIP_MS} ms ${machine.why}`, () => {
  let folder: string;
  let program: string;
  let distance: Distance;
  let whole: Whole;
  let closing: (() => void)[];

  beforeEach(async () => {
    closing = [];
    folder = mkdtempSync(path.join(tmpdir(), 'distance-'));
    program = path.join(folder, 'outgoing');
    const source = path.join(import.meta.dirname, '../../bench/src/outgoing.c');
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-pthread', '-o', program, source]);
    distance = await startDistance({ roundTripMs: ROUND_TRIP_MS });
    whole = await Whole.start({ variables: {}, listen: `${FAR}:0`, before: distance.far });
  });

  afterEach(async () => {
    for (const close of closing) close();
    await whole?.close();
    await distance?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function serve(where: readonly string[]): Promise<string> {
    const [file = '', ...words] = [...where, program, 'serve', '0'];
    const child = spawn(file, words, { stdio: ['ignore', 'pipe', 'inherit'] });
    closing.push(() => child.kill('SIGKILL'));
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    return line.replace('ready ', '');
  }

  const serveInTarget = () => serve(['nsenter', '-t', String(whole.target.pid), '-n']);
  const options = () => {
    const at = whole.address.slice(whole.address.lastIndexOf(':'));
    const variables = { MIRRORD_AGENT_ADDRESS: `localhost${at}` };
    return { before: distance.near, variables, deadlineMs: 180_000 };
  };

  async function throughMirrord(...words: string[]): Promise<number> {
    const { code, stdout, stderr } = await whole.exec([program, ...words], options());
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return Number(stdout);
  }

  test('bulk is as fast as a connection without mirrord, in both directions', async () => {
    const direct = await serve([...distance.far]);
    const target = await serveInTarget();
    const [file = '', ...words] = distance.near;
    for (const what of ['down', 'up']) {
      const run = promisify(execFile)(file, [...words, program, what, FAR, direct, '96']);
      const straightMs = Number((await run).stdout);
      const ms = await throughMirrord(what, '127.0.0.1', target, '96');
      expect(straightMs / ms, what).toBeGreaterThan(0.8);
    }
  }, 300_000);

  test('nobody waits for ever when both directions are full, on one connection and on several', async () => {
    const target = await serveInTarget();
    const ms = await throughMirrord('both', '127.0.0.1', target, '48');
    expect(ms).toBeGreaterThan(ROUND_TRIP_MS);
  }, 300_000);

  test('readers that stop after their windows have grown cost what all of them together were granted', async () => {
    const target = await serveInTarget();
    const { before, variables } = options();
    const [file = '', ...words] = [...before, path.join(whole.installed, 'bin/mirrord'), 'exec', '--progress', 'off'];
    const command = [...words, '--target', `pid/${whole.target.pid}`, '--', program, 'stop', '127.0.0.1', target, '12'];
    const child = spawn(file, command, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...variables, MIRRORD_AGENT_KEY_FILE: path.join(whole.base, 'key') },
    });
    closing.push(() => child.kill('SIGKILL'));
    const ended = once(child, 'exit');
    const began = rssBytes(whole.agent.pid);
    expect((await once(createInterface(child.stdout), 'line'))[0]).toBe('stopped');
    // The client is what nsenter and unshare became.
    expect(rssBytes(child.pid)).toBeLessThan(100 * MIB + STOPPED_BYTES);
    expect(rssBytes(whole.agent.pid) - began).toBeLessThan(STOPPED_BYTES);
    child.stdin.end();
    expect(await ended).toEqual([0, null]);
  }, 300_000);
});

function rssBytes(pid: number | undefined): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}
