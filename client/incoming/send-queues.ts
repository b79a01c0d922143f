// When the other end of a connection of this machine has taken everything: a reset throws away what still waits in its sender's
// kernel. Nobody tells, so it is looked up (proc(5), net/tcp), for all that wait at once.

import { readFile } from 'node:fs/promises';
import type { InternetAddress } from '#proto/socket-address.ts';

export interface Ends {
  readonly from: InternetAddress;
  readonly to: InternetAddress;
}

interface Waiting {
  left: number;
  sinceMs: number;
  /** True: everything is taken, or the connection is gone. False: nothing more was taken for too long. */
  act(isTaken: boolean): void;
}

const FIRST_PAUSE_MS = 10;
const LAST_PAUSE_MS = 200;

export class SendQueues {
  readonly #patienceMs: number;
  readonly #waiting = new Map<string, Waiting>();
  #pauseMs = FIRST_PAUSE_MS;
  #isLooking = false;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** Of a connection of this network namespace. */
  whenTaken({ from, to }: Ends, act: (isTaken: boolean) => void): void {
    this.#waiting.set(`${textOf(from)} ${textOf(to)}`, { left: Infinity, sinceMs: performance.now(), act });
    this.#pauseMs = FIRST_PAUSE_MS;
    if (!this.#isLooking) void this.#look();
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    while (this.#waiting.size > 0) {
      const asked = [...this.#waiting];
      const queues = await sendQueues();
      for (const [ends, waiting] of asked) this.#judge(ends, waiting, queues.get(ends) ?? 0);
      if (this.#waiting.size === 0) break;
      await new Promise((resolve) => setTimeout(resolve, this.#pauseMs));
      this.#pauseMs = Math.min(this.#pauseMs * 2, LAST_PAUSE_MS);
    }
    this.#isLooking = false;
  }

  #judge(ends: string, waiting: Waiting, left: number): void {
    const nowMs = performance.now();
    if (left < waiting.left) {
      waiting.left = left;
      waiting.sinceMs = nowMs;
    }
    if (left > 0 && nowMs - waiting.sinceMs < this.#patienceMs) return;
    this.#waiting.delete(ends);
    waiting.act(left === 0);
  }
}

/** Bytes that the other end's kernel has not taken, of the connections that have some. */
async function sendQueues(): Promise<Map<string, number>> {
  const queues = new Map<string, number>();
  for (const name of ['tcp', 'tcp6']) {
    // A kernel without IPv6 has no such file.
    const text = await readFile(`/proc/self/net/${name}`, 'latin1').catch(() => '');
    for (const line of text.split('\n')) {
      const [, from, to, , queue = '0'] = line.trim().split(/\s+/, 5);
      const bytes = Number.parseInt(queue, 16);
      if (bytes > 0) queues.set(`${from} ${to}`, bytes);
    }
  }
  return queues;
}

/** As proc(5) has it: words of 32 bits in the machine's order. */
function textOf({ ip, port }: InternetAddress): string {
  const words = Array.from({ length: ip.length / 4 }, (_, nth) =>
    Buffer.from(ip.subarray(nth * 4, nth * 4 + 4)).reverse(),
  );
  return `${Buffer.concat(words).toString('hex').toUpperCase()}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}
