// Finds the program a command names, as a shell would: before anything is started for it, so that a slip is told at once.

import { accessSync, constants, type Stats, statSync } from 'node:fs';
import { delimiter, resolve } from 'node:path';

export type Found =
  | { kind: 'found'; path: string }
  | { kind: 'not-found' }
  | { kind: 'not-executable' | 'folder'; path: string };

export function findExecutable(command: string, searchPath: string, cwd: string): Found {
  const candidates = command.includes('/')
    ? [resolve(cwd, command)]
    : searchPath.split(delimiter).map((folder) => resolve(cwd, folder || '.', command));
  let unusable: Found = { kind: 'not-found' };
  for (const path of candidates) {
    if (command.includes('/') && isFolder(path)) return { kind: 'folder', path };
    if (!isFile(path)) continue;
    if (isExecutable(path)) return { kind: 'found', path };
    unusable = { kind: 'not-executable', path };
  }
  return unusable;
}

function isFile(path: string): boolean {
  return look(path)?.isFile() ?? false;
}

function isFolder(path: string): boolean {
  return look(path)?.isDirectory() ?? false;
}

/** Folders of PATH that this user may not enter are passed over, as shells do. */
function look(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
