// The private folder of one run: the embedded agent's sockets, key and log. Its name says whose it is, so that what a
// killed client left is found and removed by the next one.

import { lstat, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const NAME = /^mirrord-run-([0-9]+)-([0-9]+)-[A-Za-z0-9]{6}$/;

/** Mode 0700 (mkdtemp(3)). Removes the folders of clients that no longer run first. */
export async function makeRuntimeFolder(env: NodeJS.ProcessEnv): Promise<string> {
  const parent = env['XDG_RUNTIME_DIR'] || tmpdir();
  try {
    return await makeIn(parent);
  } catch (error) {
    if (parent === tmpdir()) throw error;
    // XDG_RUNTIME_DIR may be that of another user, under sudo.
    return makeIn(tmpdir());
  }
}

export async function removeRuntimeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
}

/**
 * Only folders of ours whose process, by number and start time, is gone. Of ours by owner: in a folder of somebody else a
 * link may take the place of what is about to be removed.
 */
export async function sweepRuntimeFolders(parent: string): Promise<void> {
  const names = await readdir(parent);
  for (const name of names) {
    const [, pid, startTicks] = NAME.exec(name) ?? [];
    if (pid === undefined || (await startTicksOf(pid)) === startTicks) continue;
    const folder = join(parent, name);
    if (await isOwnFolder(folder)) await rm(folder, { recursive: true, force: true }).catch(() => {});
  }
}

async function isOwnFolder(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => null);
  return found?.isDirectory() === true && found.uid === process.geteuid?.();
}

async function makeIn(parent: string): Promise<string> {
  await sweepRuntimeFolders(parent);
  const startTicks = (await startTicksOf('self')) ?? '0';
  return mkdtemp(join(parent, `mirrord-run-${process.pid}-${startTicks}-`));
}

/** proc(5), stat field 22, in clock ticks since boot; the name before it may hold anything. Null: no such process. */
async function startTicksOf(pid: string): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
