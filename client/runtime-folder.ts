// The private folder of one run: the embedded agent's sockets, key and log. Its name says whose it is, so that what a
// killed client left is found and removed by the next one.
//
// Synchronous: a start and an end would wait for dozens of turns of the thread pool, and nothing else is to be done meanwhile.

import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { shortage } from './local-shortage.ts';

const NAME = /^mirrord-run-([0-9]+)-([0-9]+)-[A-Za-z0-9]{6}$/;

/** Mode 0700 (mkdtemp(3)). Removes the folders of clients that no longer run first. */
export function makeRuntimeFolder(env: NodeJS.ProcessEnv): string {
  const parent = env['XDG_RUNTIME_DIR'] || tmpdir();
  try {
    return makeIn(parent);
  } catch (error) {
    if (parent === tmpdir()) throw shortage(`no folder can be made in ${parent}`, error, { inFolder: true });
    // XDG_RUNTIME_DIR may be that of another user, under sudo.
    return makeRuntimeFolder({});
  }
}

export function removeRuntimeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
}

/**
 * Only folders of ours whose process, by number and start time, is gone. Of ours by owner: in a folder of somebody else a
 * link may take the place of what is about to be removed.
 */
function sweepRuntimeFolders(parent: string): void {
  for (const name of readdirSync(parent)) {
    const [, pid, startTicks] = NAME.exec(name) ?? [];
    if (pid === undefined || startTicksOf(pid) === startTicks) continue;
    const folder = join(parent, name);
    if (isOwnFolder(folder)) removeIfPossible(folder);
  }
}

function removeIfPossible(folder: string): void {
  try {
    removeRuntimeFolder(folder);
  } catch {
    // Another client removes it too, or it holds what we may not touch: the next one tries again.
  }
}

function isOwnFolder(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === process.geteuid?.();
}

function makeIn(parent: string): string {
  sweepRuntimeFolders(parent);
  const startTicks = startTicksOf('self') ?? '0';
  return mkdtempSync(join(parent, `mirrord-run-${process.pid}-${startTicks}-`));
}

/** proc(5), stat field 22, in clock ticks since boot; the name before it may hold anything. Null: no such process. */
export function startTicksOf(pid: string): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
