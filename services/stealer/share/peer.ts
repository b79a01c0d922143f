// Who is at the other end of the name by which stealers find each other. Everything in the target's network can take the name or
// connect to it, so neither end says anything to a process that is no stealer.
//
// Trusted is who could do all that we do without us: a process of our user, in our user and process namespaces, with the
// capabilities by which it could enter the target's network, trace us and redirect by itself.

import { closeSync, readFileSync, statSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import { stealerAddon } from '../native/index.ts';

/** CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_ADMIN (capabilities(7)). */
const NEEDED_CAPABILITIES = (1n << 12n) | (1n << 19n) | (1n << 21n);

/** @throws AppError NOT_PERMITTED, naming the process, when it is no stealer */
export function assertIsStealer(fd: number): void {
  withStealer(fd, () => undefined);
}

/**
 * @param act its pidfd is closed afterwards
 * @throws AppError NOT_PERMITTED, naming the process, when it is no stealer
 */
export function withStealer<T>(fd: number, act: (pid: number, pidFd: number) => T): T {
  const { pid, uid, pidFd } = stealerAddon().peerOf(fd);
  try {
    const reason = pid === 0 ? 'it is outside of what we see' : strangeness(pid, uid);
    // Read of the process that holds the socket only if the number was its own all the while.
    if (reason === null && isAlive(pidFd)) return act(pid, pidFd);
    throw new AppError('NOT_PERMITTED', `${nameOf(pid)} is no stealer: ${reason ?? 'it has ended'}`);
  } finally {
    if (pidFd >= 0) closeSync(pidFd);
  }
}

/** Why it is not one of us; null when it is. */
function strangeness(pid: number, uid: number): string | null {
  if (uid !== process.geteuid?.()) return `its user is ${uid}`;
  try {
    for (const name of ['user', 'pid']) {
      const [own, other] = ['self', pid].map((one) => statSync(`/proc/${one}/ns/${name}`, { bigint: true }));
      if (own?.ino !== other?.ino || own?.dev !== other?.dev) return `its ${name} namespace is another`;
    }
    const [, hex = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
    const capabilities = BigInt(`0x${hex}`);
    return (capabilities & NEEDED_CAPABILITIES) === NEEDED_CAPABILITIES ? null : 'it lacks capabilities';
  } catch {
    return 'it cannot be looked at';
  }
}

/** `Pid:` is -1 once the number may be another's. */
function isAlive(pidFd: number): boolean {
  return /^Pid:\s*[1-9]/m.test(readFileSync(`/proc/self/fdinfo/${pidFd}`, 'latin1'));
}

/** Its name is its own choice, and other people's terminals are not for it to write on. */
export function nameOf(pid: number): string {
  try {
    const name = readFileSync(`/proc/${pid}/comm`, 'latin1')
      .trim()
      .replace(/[^ -~]/g, '?');
    return `process ${pid} (${name})`;
  } catch {
    return `process ${pid}`;
  }
}
