// When the other end of a connection of this machine has read everything: a reset throws away what still waits in its sender's
// kernel, and whoever answers to what he reads learns of it before he has read the rest. And whether it is closed, or only says
// nothing more: both send the same end. Nobody tells, so it is looked up (proc(5), net/tcp), for all that wait at once.

import { readFile } from 'node:fs/promises';
import type { InternetAddress } from '#proto/socket-address.ts';

export interface Ends {
  readonly from: InternetAddress;
  readonly to: InternetAddress;
}

interface Waiting {
  left: number;
  sinceMs: number;
  /** True: everything is read, or the connection is gone. False: nothing more was read for too long. */
  act(isRead: boolean): void;
}

const FIRST_PAUSE_MS = 10;
const LAST_PAUSE_MS = 200;

export class UnreadBytes {
  readonly #patienceMs: number;
  readonly #waiting = new Map<string, Waiting>();
  #pauseMs = FIRST_PAUSE_MS;
  #isLooking = false;
  /** For the next look. */
  #asked: { ends: Ends; act: (isOpen: boolean) => void }[] = [];
  #isAsking = false;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** Of a connection of this network namespace. */
  whenRead({ from, to }: Ends, act: (isRead: boolean) => void): void {
    this.#waiting.set(`${textOf(from)} ${textOf(to)}`, { left: Infinity, sinceMs: performance.now(), act });
    this.#pauseMs = FIRST_PAUSE_MS;
    if (!this.#isLooking) void this.#look();
  }

  /** Whether a process still has the other end's socket, as far as one can see. */
  whetherOpen(ends: Ends, act: (isOpen: boolean) => void): void {
    this.#asked.push({ ends, act });
    if (!this.#isAsking) void this.#ask();
  }

  async #ask(): Promise<void> {
    this.#isAsking = true;
    while (this.#asked.length > 0) {
      const asked = this.#asked.splice(0);
      const open = new Set<string>();
      for (const { local, remote, inode } of await connections())
        if (inode !== NO_INODE) open.add(`${local} ${remote}`);
      for (const { ends, act } of asked) act(open.has(`${textOf(ends.to)} ${textOf(ends.from)}`));
    }
    this.#isAsking = false;
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    while (this.#waiting.size > 0) {
      const asked = [...this.#waiting];
      const unread = await unreadBytes();
      for (const [ends, waiting] of asked) this.#judge(ends, waiting, unread.get(ends) ?? 0);
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

/** Of a socket that nobody has accepted yet, or accepted and closed: of no file. */
const NO_INODE = '0';
const OPEN_STATES = ['01', '08'];

/** By sender and receiver, of connections that have some: what the sender's kernel has, and the receiver's. */
async function unreadBytes(): Promise<Map<string, number>> {
  const unread = new Map<string, number>();
  const add = (ends: string, bytes: number) => {
    if (bytes > 0) unread.set(ends, (unread.get(ends) ?? 0) + bytes);
  };
  for (const { local, remote, state, queues, inode } of await connections()) {
    const [toSend = 0, toRead = 0] = queues.split(':').map((hex) => Number.parseInt(hex, 16));
    add(`${local} ${remote}`, toSend);
    add(`${remote} ${local}`, toRead + (inode === NO_INODE && OPEN_STATES.includes(state) ? 1 : 0));
  }
  return unread;
}

async function connections() {
  const texts = ['tcp', 'tcp6'].map((name) =>
    // A kernel without IPv6 has no such file.
    readFile(`/proc/self/net/${name}`, 'latin1').catch(() => ''),
  );
  return (await Promise.all(texts)).flatMap((text) =>
    text.split('\n').map((line) => {
      const [, near = '', far = '', state = '', queues = '', , , , , inode = NO_INODE] = line.trim().split(/\s+/, 10);
      return { local: plain(near), remote: plain(far), state, queues, inode };
    }),
  );
}

/** A socket of both families has the other end's IPv4 address mapped. */
const plain = (address: string) => address.replace(/^0{16}FFFF0000/, '');

/** As proc(5) has it: words of 32 bits in the machine's order. */
function textOf({ ip, port }: InternetAddress): string {
  const words = Array.from({ length: ip.length / 4 }, (_, nth) =>
    Buffer.from(ip.subarray(nth * 4, nth * 4 + 4)).reverse(),
  );
  return `${Buffer.concat(words).toString('hex').toUpperCase()}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}
