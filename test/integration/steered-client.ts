// Starts steered-client.mjs beyond the target, and tells it what to do.

import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TargetNetwork } from '../fixtures/network.ts';

export interface SteeredClient {
  /** Of its end of the connection. */
  readonly port: number;
  tell(line: string): Promise<void>;
  /** Resolves when so many bytes have come back since the beginning. */
  heard(bytes: number): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function startClient(network: TargetNetwork, port: number, host = '10.99.0.1'): Promise<SteeredClient> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mirrord-client-'));
  const pipePath = path.join(folder, 'do');
  execFileSync('mkfifo', [pipePath]);
  const script = path.join(import.meta.dirname, '../fixtures/steered-client.mjs');
  const peer = await network.serve(network.beyond, [process.execPath, script, host, String(port), pipePath]);
  const [, own] = (await peer.line('port')).split(' ');
  const pipe = await open(pipePath, 'w');
  return {
    port: Number(own),
    tell: async (line) => {
      await pipe.write(`${line}\n`);
    },
    heard: async (bytes) => {
      await pipe.write(`hear ${bytes}\n`);
      await peer.line(`heard ${bytes}`);
    },
    [Symbol.asyncDispose]: async () => {
      await pipe.close();
      await peer.stop();
      await rm(folder, { recursive: true });
    },
  };
}
