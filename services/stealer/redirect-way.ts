// How new connections are brought to our listener: by BPF sk_lookup, or by translation of addresses where that is not to be had.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { Way } from '#runtime/redirect-ways.ts';
import {
  type NativeEndpoint,
  type NativeNat,
  type NativeRedirect,
  type NatKind,
  stealerAddon,
  stealerAddonPath,
} from './native/index.ts';

export interface RedirectWay {
  /** For people. */
  readonly method: string;
  /** What is not as good as it could be, for people. */
  readonly notes: readonly string[];
  /** What our own connections have to go past; null where a mark of theirs does it, and the kernel says where others were meant to go. */
  readonly lookup: NativeRedirect | null;
  /** Where an accepted connection was meant to go, when its own address does not say. */
  originalOf(fd: number): NativeEndpoint | null;
  setPort(port: number, isStolen: boolean): void;
  dial(namespaceFd: number, acceptedFd: number): ReturnType<NativeRedirect['dial']>;
  forget(address: Buffer, port: number): void;
  /** Nothing more is redirected; what was goes on. */
  close(namespaceFd: number): void;
  /** Nothing of that is left. */
  release(namespaceFd: number): void;
}

/**
 * What stealers have left in the namespace is removed first.
 *
 * @throws AppError NOT_PERMITTED when the kernel does not allow it, UNSUPPORTED when it does not know it, LIMIT_REACHED while
 *   another process redirects there
 */
export function openWay(way: Way, namespaceFd: number, listenerFd: number): RedirectWay {
  sweep(namespaceFd);
  if (way !== 'auto' && way !== 'sk_lookup') {
    return new Translation(namespaceFd, listenerFd, HOW[way], 'the settings say so');
  }
  let reason: string;
  try {
    return new Lookup(namespaceFd, listenerFd);
  } catch (thrown) {
    const error = toLookupError(thrown);
    if (way === 'sk_lookup' || error.code === 'LIMIT_REACHED') throw error;
    reason = error.message;
  }
  try {
    return new Translation(namespaceFd, listenerFd, 'owned', reason);
  } catch (thrown) {
    return new Translation(namespaceFd, listenerFd, 'legacy', AppError.from(thrown, 'BUG').message);
  }
}

const HOW = { nftables: 'owned', 'nftables-guarded': 'guarded', 'iptables-legacy': 'legacy' } as const;

/** A link in the kernel that goes with this process. Addresses stay what they were. */
class Lookup implements RedirectWay {
  readonly method = 'sk_lookup';
  readonly notes = [];
  readonly lookup: NativeRedirect;

  constructor(namespaceFd: number, listenerFd: number) {
    this.lookup = new (stealerAddon().Redirect)(namespaceFd, listenerFd);
  }

  originalOf(): null {
    return null;
  }

  setPort(port: number, isStolen: boolean): void {
    this.lookup.setPort(port, isStolen);
  }

  dial(namespaceFd: number, acceptedFd: number): ReturnType<NativeRedirect['dial']> {
    return this.lookup.dial(namespaceFd, acceptedFd);
  }

  forget(address: Buffer, port: number): void {
    this.lookup.forget(address, port);
  }

  close(): void {
    this.lookup.close();
  }

  release(): void {
    // Addresses stay what they are.
  }
}

/** Tables of nf_tables, which go with this process where the kernel can do that; they, or a chain of ip_tables, are removed by a guard where not. */
class Translation implements RedirectWay {
  readonly method: string;
  readonly notes: readonly string[];
  readonly lookup = null;
  readonly #native: NativeNat;
  readonly #guard: ChildProcess | null;

  constructor(namespaceFd: number, listenerFd: number, how: NatKind, reason: string) {
    // Of 28 characters at most, as the name of a chain may have.
    const name = `mirrord-steal-${process.pid}-${randomBytes(3).toString('hex')}`;
    // First, so that there is no moment without one.
    const guard = how === 'owned' ? null : startGuard(namespaceFd, name);
    try {
      this.#native = new (stealerAddon().Nat)(namespaceFd, listenerFd, name, how);
    } catch (thrown) {
      guard?.kill();
      throw toTranslationError(thrown, how, reason);
    }
    const isOwned = this.#native.isOwned();
    this.#guard = isOwned ? null : (guard ?? startGuard(namespaceFd, name));
    this.method = how === 'legacy' ? 'iptables-legacy' : isOwned ? 'nftables' : 'nftables-guarded';
    this.notes = [
      `connections are redirected by translating addresses: ${reason}`,
      ...(this.#native.hasIpv6() ? [] : ['connections over IPv6 are not stolen: this kernel does not translate them']),
    ];
  }

  originalOf(fd: number): NativeEndpoint | null {
    return stealerAddon().originalDestination(fd);
  }

  setPort(port: number, isStolen: boolean): void {
    this.#native.setPort(port, isStolen);
  }

  dial(namespaceFd: number, acceptedFd: number): ReturnType<NativeRedirect['dial']> {
    return this.#native.dial(namespaceFd, acceptedFd);
  }

  forget(): void {
    // A mark stays with its socket.
  }

  close(namespaceFd: number): void {
    this.#native.close();
    this.#native.forgetReset(namespaceFd);
  }

  release(namespaceFd: number): void {
    this.#native.forgetReset(namespaceFd);
    this.#native.release();
    this.#guard?.kill();
  }
}

/** Ends when we do, however we do, since its input does; and removes what we could not. */
const GUARD = `const stealer = require(process.argv[1]);
process.stdin.resume().once('end', () => { stealer.sweep(3, process.argv[2]); process.exit(); });`;

function startGuard(namespaceFd: number, name: string): ChildProcess {
  const guard = spawn(process.execPath, ['-e', GUARD, stealerAddonPath(), name], {
    stdio: ['pipe', 'ignore', 'ignore', namespaceFd],
    cwd: '/',
    env: {},
    // What is meant for our process group is not for it.
    detached: true,
  });
  // Without it the next stealer of the target removes what a killed one has left.
  guard.on('error', () => undefined);
  guard.unref();
  return guard;
}

function sweep(namespaceFd: number): void {
  try {
    stealerAddon().sweep(namespaceFd, '');
  } catch (cause) {
    if (nameOf(cause) === 'EPERM') throw redirectedElsewhere(cause);
    // Nobody may, and then nobody of ours has left anything.
  }
}

function nameOf(thrown: unknown): string {
  return errnoName(thrown instanceof Error && 'errno' in thrown ? Number(thrown.errno) : 0);
}

function redirectedElsewhere(cause: unknown): AppError {
  const said = "the target's connections are redirected by a stealer that cannot be reached from here";
  return new AppError('LIMIT_REACHED', said, { cause });
}

function toLookupError(thrown: unknown): AppError {
  const name = nameOf(thrown);
  if (name === 'EBUSY') return redirectedElsewhere(thrown);
  const isRefused = name === 'EPERM' || name === 'EACCES';
  const said = thrown instanceof Error ? thrown.message : String(thrown);
  return new AppError(
    isRefused ? 'NOT_PERMITTED' : 'UNSUPPORTED',
    `no sk_lookup (Linux 5.9, CAP_BPF and CAP_NET_ADMIN): ${said}`,
    { cause: thrown },
  );
}

function toTranslationError(thrown: unknown, how: NatKind, reason: string): AppError {
  const name = nameOf(thrown);
  const said = `${how === 'legacy' ? 'ip_tables' : 'nf_tables'} (CAP_NET_ADMIN) says ${name}`;
  const isRefused = name === 'EPERM' || name === 'EACCES';
  return new AppError(
    isRefused ? 'NOT_PERMITTED' : 'UNSUPPORTED',
    how === 'legacy' ? `connections cannot be redirected: ${reason}; ${said}` : `${reason}; ${said}`,
    { cause: thrown },
  );
}
