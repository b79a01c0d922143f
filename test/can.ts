// What this machine lets a test do, and why not. In CI every answer is yes: the test then runs, and fails with the kernel's
// own words, because a machine that cannot run a test must not look like one that passed it.
//
//   describe.skipIf(!can.root.yes)(`files of a target (${can.root.why})`, ...)

import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface Can {
  readonly yes: boolean;
  /** For the name of the test: the reason of a no, else empty. */
  readonly why: string;
}

const isStrict = process.env['CI'] === 'true';

function answer(isPossible: boolean, why: string): Can {
  const yes = isPossible || isStrict;
  return { yes, why: yes ? '' : why };
}

export function hasCommand(name: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, name)));
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** CAP_SYS_ADMIN (capabilities(7), bit 21) in the effective set: namespaces and mounts. */
function mayMount(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return line !== null && ((BigInt(`0x${line[1]}`) >> 21n) & 1n) === 1n;
}

export const can = {
  /** Targets in namespaces of their own, other users' processes. */
  root: answer(process.getuid?.() === 0 && mayMount(), 'needs root with CAP_SYS_ADMIN'),
  fuse: answer(isWritable('/dev/fuse'), 'needs /dev/fuse readable and writable'),
  nats: answer(hasCommand('nats-server'), 'needs nats-server'),
} as const;

/** For programs in languages of which only the tests need the toolchain. */
export function canRun(...commands: string[]): Can {
  const missing = commands.filter((name) => !hasCommand(name));
  return answer(missing.length === 0, `needs ${missing.join(', ')}`);
}
