// What this machine lets the layer do, as the kernel tells it without anything being started.

import { accessSync, constants, readFileSync } from 'node:fs';
import { arch, platform, release } from 'node:os';
import type { Finding } from './doctor-finding.ts';

/** Of which the supervisor's calls of seccomp are part (SECCOMP_ADDFD_FLAG_SEND). */
const OLDEST_KERNEL = [5, 14] as const;

export interface LocalFacts {
  readonly platform: string;
  readonly arch: string;
  readonly release: string;
  readonly isRoot: boolean;
  readonly hasSupervisor: boolean;
  /** Content of files of /proc/sys/kernel; null where there is none. */
  readonly seccompActions: string | null;
  readonly ptraceScope: string | null;
  readonly canUseFuse: boolean;
  readonly isInsideSession: boolean;
}

export function readLocalFacts(supervisorFile: string, env: NodeJS.ProcessEnv): LocalFacts {
  return {
    platform: platform(),
    arch: arch(),
    release: release(),
    isRoot: process.geteuid?.() === 0,
    hasSupervisor: can(supervisorFile, constants.X_OK),
    seccompActions: content('/proc/sys/kernel/seccomp/actions_avail'),
    ptraceScope: content('/proc/sys/kernel/yama/ptrace_scope'),
    canUseFuse: can('/dev/fuse', constants.R_OK | constants.W_OK),
    isInsideSession: Boolean(env['MIRRORD_SESSION_ID']),
  };
}

function can(file: string, mode: number): boolean {
  try {
    accessSync(file, mode);
    return true;
  } catch {
    return false;
  }
}

function content(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return null;
  }
}

/** Pure. */
export function judgeLocal(facts: LocalFacts): Finding[] {
  const findings: Finding[] = [];
  const add = (level: Finding['level'], what: string, advice?: string, move: Finding['move'] = 'admin') =>
    findings.push({ area: 'here', level, what, ...(advice === undefined ? {} : { advice, move }) });
  if (facts.platform !== 'linux' || facts.arch !== 'x64') {
    add(
      'fail',
      `this machine is ${facts.platform}/${facts.arch}`,
      'the layer runs on Linux x86-64; use a container or VM.',
      'user',
    );
    return findings;
  }
  if (isOlder(facts.release, OLDEST_KERNEL)) {
    add(
      'fail',
      `Linux ${facts.release} is too old for the layer`,
      `a kernel from ${OLDEST_KERNEL.join('.')} on is needed.`,
    );
  } else if (facts.seccompActions !== null && !facts.seccompActions.split(' ').includes('user_notif')) {
    add('fail', 'the kernel has no seccomp user notification', 'another kernel, or container profile, is needed.');
  } else add('ok', `Linux ${facts.release} has what the layer needs`);
  if (!facts.hasSupervisor) add('fail', 'the supervisor is not built', 'run `npm run setup`.', 'user');
  if (Number(facts.ptraceScope ?? '0') > 1 && !facts.isRoot) {
    const what = `kernel.yama.ptrace_scope is ${facts.ptraceScope}: the paths of calls cannot be read`;
    add('fail', what, 'set it to 1 or 0 (sysctl), or run mirrord as root.');
  }
  if (facts.canUseFuse) add('ok', '/dev/fuse can be used: remote files are files in every way');
  else {
    const what = '/dev/fuse cannot be used: remote files are read as copies of up to 64 MiB, and not written';
    add('warn', what, 'install fuse3, or give the container --device /dev/fuse.');
  }
  if (facts.isInsideSession)
    add('warn', 'this runs inside a session of mirrord', 'start the next one outside of it.', 'user');
  return findings;
}

export function isOlder(kernel: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10) || 0);
  return a < major || (a === major && b < minor);
}
