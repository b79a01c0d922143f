import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { listen } from './listen.ts';

/** Looks at a name all the time, in a thread of its own: [times seen, times seen open to others, stop]. */
const WATCHER = `
const { statSync } = require('node:fs');
const { workerData, parentPort } = require('node:worker_threads');
const counts = new Int32Array(workerData.counts);
parentPort.postMessage('looking');
while (Atomics.load(counts, 2) === 0) {
  const found = statSync(workerData.path, { throwIfNoEntry: false });
  if (found === undefined) continue;
  counts[0] += 1;
  if ((found.mode & 0o077) !== 0) counts[1] += 1;
}
`;

test('a socket is closed to others from its first moment, whatever the umask', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'listen-'));
  const counts = new Int32Array(new SharedArrayBuffer(12));
  const umask = process.umask(0);
  const workerData = { counts: counts.buffer, path: path.join(folder, `.${process.pid}.sock`) };
  const watcher = new Worker(WATCHER, { eval: true, workerData });
  await new Promise((resolve) => watcher.once('message', resolve));
  const endMs = performance.now() + 10_000;
  try {
    for (let round = 0; (round < 300 || counts[0] === 0) && performance.now() < endMs; round += 1) {
      const { close } = await listen(`unix:${folder}/s.sock`, () => undefined);
      close();
    }
  } finally {
    process.umask(umask);
    Atomics.store(counts, 2, 1);
    await new Promise((resolve) => watcher.once('exit', resolve));
    rmSync(folder, { recursive: true });
  }
  expect(counts[0]).toBeGreaterThan(0);
  expect(counts[1]).toBe(0);
});
