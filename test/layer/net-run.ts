// What the tests of connections share: running a program under the supervisor, building one, waiting for a condition.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { NetPeer, type NetPeerOptions } from './net-peer.ts';
import type { Ended } from './peer.ts';

export class Workshop {
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), 'mirrord-net-'));
  readonly #peers: NetPeer[] = [];

  run(command: readonly string[], options: NetPeerOptions = {}): Promise<Ended> & { peer: NetPeer } {
    const peer = new NetPeer(command, options);
    this.#peers.push(peer);
    return Object.assign(peer.ended, { peer });
  }

  python(source: string, options: NetPeerOptions = {}): Promise<Ended> & { peer: NetPeer } {
    return this.run(['python3', '-c', source], options);
  }

  compile(name: string, source: string, flags: readonly string[] = []): string {
    const binary = path.join(this.folder, name);
    fs.writeFileSync(`${binary}.c`, source);
    execFileSync('gcc', ['-O1', '-pthread', '-D_GNU_SOURCE', '-o', binary, `${binary}.c`, ...flags], { stdio: 'pipe' });
    return binary;
  }

  /** Nothing of a test outlives it. */
  clean(): void {
    for (const peer of this.#peers) peer.hangUp();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited 15 s in vain: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The worker, which holds the connections: the parent of the local process. */
export function workerOf(app: number): number {
  return Number(fs.readFileSync(`/proc/${app}/stat`, 'latin1').split(') ')[1]?.split(' ')[1]);
}

export function descriptorsOf(pid: number): number {
  return fs.readdirSync(`/proc/${pid}/fd`).length;
}
