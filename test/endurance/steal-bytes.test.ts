// What is stolen and what passes a stealing port, in quantities: many idle connections, and streams larger than any buffer.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness } from '../integration/exec-harness.ts';

const PORT = 8080;
const TARGET = `http://10.99.0.1:${PORT}`;
/** Two descriptors each in the stealer, and it cannot have more than this machine lets a process have; the title says how many. */
const MOST_FILES = Number(/^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]);
const IDLE = Math.min(10_000, Math.floor((MOST_FILES - 200) / 200) * 100);
const IDLE_BYTES = 200 * 1000 * 1000;
const STREAM_BYTES = 1_000_000_000;
/** By which a process may grow, at its peak, while a stream passes: buffers, and garbage that is not collected yet. */
const GROWTH_BYTES = 192 * 1024 * 1024;
const PATTERN = Buffer.alloc(256 * 1024, 'bytes that repeat, but not at a power of two ');
const SERVER = path.join(import.meta.dirname, '../fixtures/bulk-server.mjs');

const run = promisify(execFile);
const machine = [can.root, can.nats].find(({ yes }) => !yes) ?? can.root;

/** A line of /proc/PID/status in bytes. */
function bytesOf(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}

/** Of so many bytes of the pattern. */
function patternHash(bytes: number): string {
  const hash = createHash('sha256');
  for (let left = bytes; left > 0; left -= PATTERN.length) hash.update(PATTERN.subarray(0, left));
  return hash.digest('hex');
}

function zeroHash(bytes: number): string {
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(1 << 20);
  for (let left = bytes; left > 0; left -= zeros.length) hash.update(zeros.subarray(0, left));
  return hash.digest('hex');
}

describe.skipIf(!machine.yes)(`a port that is stolen with a filter ${machine.why}`, () => {
  let network: TargetNetwork;
  let harness: ExecHarness;

  beforeEach(async () => {
    network = await startNetwork();
    await network.serve(network.target, [process.execPath, SERVER, String(PORT), 'target']);
    harness = new ExecHarness();
    const config = path.join(harness.folder, 'steal.json');
    const incoming = { mode: 'steal', http_filter: { header_filter: '^x-user: alice$' } };
    writeFileSync(config, JSON.stringify({ feature: { network: { incoming } } }));
    // Where the local process reads its own files.
    const local = path.join(harness.folder, 'server.mjs');
    copyFileSync(SERVER, local);
    const words = ['exec', '-f', config, '-t', `pid/${network.target.pid}`, '--', process.execPath, local];
    const started = harness.start([...words, String(PORT), 'local']);
    await started.complained(`stealing port ${PORT}`);
  });

  afterEach(async () => {
    harness?.killAll();
    harness?.close();
    await network?.[Symbol.asyncDispose]();
  });

  async function shell(command: string): Promise<string> {
    const words = ['-t', String(network.beyond.pid), '-n', 'bash', '-o', 'pipefail', '-c', command];
    return (await run('nsenter', words)).stdout.trim();
  }

  test(`${IDLE} idle connections that pass to the target take less than 200 MB, and new ones are answered beside them`, async () => {
    const stealer = harness.process('dist/stealer.js');
    const client = path.join(import.meta.dirname, '../fixtures/idle-connections.mjs');
    await network.serve(network.beyond, [process.execPath, client, '10.99.0.1', String(PORT), String(IDLE)]);
    await expect.poll(() => bytesOf(stealer, 'VmRSS'), { timeout: 60_000 }).toBeLessThan(IDLE_BYTES);
    expect(await shell(`curl -sS --max-time 60 -H 'x-user: bob' ${TARGET}/`)).toBe('target ok');
    expect(await shell(`curl -sS --max-time 60 -H 'x-user: alice' ${TARGET}/`)).toBe('local ok');
  });

  test.each([
    ['bob', 'to the target'],
    ['alice', 'to a local process'],
  ])('1 GB down and 1 GB up, as %s, %s: every byte, in bounded memory', async (user) => {
    const file = path.join(harness.folder, 'zeros');
    writeFileSync(file, '');
    truncateSync(file, STREAM_BYTES);
    const who = user === 'bob' ? 'target' : 'local';
    // Whatever runs once has run before the peaks are compared.
    expect(await shell(`curl -sS --max-time 60 -H 'x-user: ${user}' ${TARGET}/`)).toBe(`${who} ok`);
    const before = harness.processes().map(({ pid, command }) => ({ pid, command, bytes: bytesOf(pid, 'VmHWM') }));
    const down = `curl -sS --max-time 200 -H 'x-user: ${user}' ${TARGET}/${STREAM_BYTES} | sha256sum`;
    expect(await shell(down)).toContain(patternHash(STREAM_BYTES));
    const up = `curl -sS --max-time 200 -H 'x-user: ${user}' -H 'Expect:' -T ${file} ${TARGET}/`;
    expect(await shell(up)).toBe(`${who} ${STREAM_BYTES} ${zeroHash(STREAM_BYTES)}`);
    const grown = before.filter(({ pid, bytes }) => bytesOf(pid, 'VmHWM') > bytes + GROWTH_BYTES);
    expect(grown).toEqual([]);
  });
});
