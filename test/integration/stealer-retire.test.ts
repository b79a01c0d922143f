// A stealer that ends in order: what passes through it to the target comes to its end first.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, startStealer } from './stealer-harness.ts';

const PORT = 8080;
/** Says what each of its connections hears, and ends an upload when it is told to. */
const PEER = `
const open = (name, text) => {
  const socket = require('net').connect(${PORT}, '10.99.0.1', () => socket.write(text));
  socket.on('data', (data) => console.log(name, data.toString().split('\\r\\n\\r\\n')[1]?.trim()));
  socket.on('end', () => console.log(name, 'ends')).on('error', (error) => console.log(name, error.code));
  return socket;
};
open('rests', 'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n');
const upload = open('uploads', 'POST / HTTP/1.1\\r\\nHost: a\\r\\nExpect: 100-continue\\r\\nContent-Length: 8\\r\\n\\r\\n1234');
process.stdin.once('data', () => upload.write('5678'));
`;

let network: TargetNetwork;

beforeAll(async () => {
  network = await startNetwork();
  const server = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.target, [process.execPath, server, `:::${PORT}`]);
});
afterAll(() => network?.[Symbol.asyncDispose]());

test.each([
  ['while a session steals', false],
  ['after the last session has gone', true],
] as const)(
  '%s a request on its way to the target is answered, and who waits for nothing is let go',
  async (_, isGone) => {
    await using stealer = await startStealer();
    using client = await StealClient.open(stealer, network.identity, 1);
    await client.steal({ port: PORT, conditions: [{ $case: 'header', value: '^x-user: alice$' }] });
    const peer = spawn('nsenter', ['-t', String(network.beyond.pid), '-n', process.execPath, '-e', PEER]);
    const heard: string[] = [];
    createInterface({ input: peer.stdout }).on('line', (line) => heard.push(line));
    try {
      // The target says 100 (Continue): it has the head of the upload, by way of the stealer.
      await expect
        .poll(() => [...heard].sort(), { timeout: 10_000 })
        .toEqual(['rests hello ::ffff:10.99.0.1 at a', 'uploads ']);
      if (isGone) {
        client.vanish();
        await expect.poll(() => stealer.liveSessions).toBe(0);
      }
      const retired = stealer.retire();
      await expect.poll(() => heard.slice(2)).toEqual(['rests ends']);
      peer.stdin.write('now');
      await retired;
      await expect.poll(() => heard.slice(3)).toEqual(['uploads took 8', 'uploads ends']);
    } finally {
      peer.kill('SIGKILL');
      await once(peer, 'close');
    }
  },
);
