// Who has the name by which stealers meet, where it does not say so itself: a process that has bound it and does not listen, or
// takes nobody in. Read from /proc, for messages only.

import { readdir, readFile, readlink } from 'node:fs/promises';
import { NAME } from './meeting-place.ts';
import { nameOf } from './peer.ts';

/** Flags of a socket that listens (unix(7), /proc/net/unix). */
const LISTENS = '00010000';
/** State of one that is bound and no more. */
const UNCONNECTED = '01';

/** In words, `process 4711 (python3)`; null when nobody is found. */
export async function ownerOfName(targetPid: number): Promise<string | null> {
  try {
    const inode = inodeOf(await readFile(`/proc/${targetPid}/net/unix`, 'latin1'));
    const pid = inode === null ? null : await holderOf(`socket:[${inode}]`);
    return pid === null ? null : nameOf(pid);
  } catch {
    // The target has gone, or is not ours to look at.
    return null;
  }
}

/** Connections that were made to it bear the name as well. */
function inodeOf(table: string): string | null {
  for (const line of table.split('\n')) {
    const [, , , flags, , state, inode, name] = line.trim().split(/\s+/);
    if (name === `@${NAME}` && inode !== undefined && (flags === LISTENS || state === UNCONNECTED)) return inode;
  }
  return null;
}

async function holderOf(link: string): Promise<number | null> {
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of descriptors) {
      if ((await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')) === link) return Number(pid);
    }
  }
  return null;
}
