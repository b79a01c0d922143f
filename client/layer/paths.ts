// Where a path of the local process leads: to the target, to nowhere, or to this machine, there perhaps under another
// name (feature.fs.mapping). Asks the compiled rules; does nothing itself.

import { ERRNO } from '#proto/errno.ts';

export interface Decision {
  where: 'local' | 'remote' | 'not-found';
  /** After feature.fs.mapping. */
  path: string;
}

/** What the layer's files need of FileRules. */
export interface PathRules {
  decide(path: string, isWrite: boolean): Decision;
}

export type Place =
  | { kind: 'remote'; path: Buffer }
  /** `isMapped`: the path is not the one the local process named. */
  | { kind: 'local'; path: Buffer; isMapped: boolean }
  | { kind: 'error'; errno: number };

const O_ACCMODE = 3;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_TMPFILE = 0o20000000;
const W_OK = 2;

export function placeOf(rules: PathRules, path: Buffer, isWrite: boolean): Place {
  const text = path.toString();
  const decision = rules.decide(text, isWrite);
  if (decision.where === 'not-found') return { kind: 'error', errno: ERRNO.ENOENT };
  // Bytes that are no UTF-8 do not survive a string: an unchanged path stays the bytes it was.
  const isMapped = decision.path !== text;
  const decided = isMapped ? Buffer.from(decision.path) : path;
  return decision.where === 'remote' ? { kind: 'remote', path: decided } : { kind: 'local', path: decided, isMapped };
}

export function isWriteOpen(flags: number): boolean {
  return (flags & O_ACCMODE) !== 0 || (flags & (O_CREAT | O_TRUNC | O_APPEND | O_TMPFILE)) !== 0;
}

export function isWriteAccess(mode: number): boolean {
  return (mode & W_OK) !== 0;
}

/** A rename or a link between here and there is one between two file systems. */
export function commonPlace(from: Place, to: Place): 'remote' | 'local' | { errno: number } {
  if (from.kind === 'error') return { errno: from.errno };
  if (to.kind === 'error') return { errno: to.errno };
  return from.kind === to.kind ? from.kind : { errno: ERRNO.EXDEV };
}
