// Signals that the client receives on behalf of the local process. The terminal gives its signals to the whole process
// group, so the local process has those already: passing them on would deliver Ctrl-C twice. The kernel does not tell us
// the sender (no si_code in Node); being in the terminal's foreground group stands for it.

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

/** What tty_ioctl(4) and termios(3) send to the foreground group. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGWINCH'];
const RELAYED: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', ...FROM_TERMINAL];
/** Ends us while there is no local process to decide. */
const ENDING: ReadonlySet<NodeJS.Signals> = new Set(['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT']);

/** A signal so soon after the end of the local process is the one that ended it, not another. */
const SAME_SIGNAL_MS = 200;

/** What must know that we will stand still; a session. */
export interface Pausable {
  suspend(): Promise<void>;
  resume(): void;
}

export class Signals {
  readonly #handlers = new Map<NodeJS.Signals, () => void>();
  readonly #isForeground: () => boolean;
  readonly #abort = new AbortController();
  #localPid: number | null = null;
  #ending: NodeJS.Signals | null = null;
  #pausable: Pausable | null = null;
  #isStopping = false;
  /** The local process was stopped by us, because it was not by the terminal. */
  #hasStoppedLocal = false;
  #others: { sinceMs: number; giveUp: () => void } | null = null;

  constructor(isForeground: () => boolean = isForegroundGroup) {
    this.#isForeground = isForeground;
    for (const signal of RELAYED) {
      const handler = () => this.#receive(signal);
      this.#handlers.set(signal, handler);
      process.on(signal, handler);
    }
  }

  /** From here on Ctrl-Z is announced before it is obeyed, and so is the going on after it. */
  announceStopsTo(pausable: Pausable): void {
    this.#pausable = pausable;
    for (const [signal, handler] of [
      ['SIGTSTP', () => void this.#stop()],
      ['SIGCONT', () => this.#continued()],
    ] as const) {
      this.#handlers.set(signal, handler);
      process.on(signal, handler);
    }
  }

  /** Aborts when a signal asks us to end before the local process runs. */
  get abortSignal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The signal that asked us to end before the local process ran. */
  get ending(): NodeJS.Signals | null {
    return this.#ending;
  }

  /** From here on signals are the local process's. One that came before reaches it now. */
  localProcessStarted(pid: number): void {
    this.#localPid = pid;
    if (this.#ending !== null) this.#send(this.#ending);
  }

  localProcessEnded(): void {
    this.#localPid = null;
  }

  /** The local process has ended and others of its run have not: the next signal that asks us to end gives them up. */
  othersGoOn(giveUp: () => void): void {
    this.#localPid = null;
    this.#others = { sinceMs: performance.now(), giveUp };
  }

  /** Gives the signals back their defaults. */
  close(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
    this.#handlers.clear();
  }

  #receive(signal: NodeJS.Signals): void {
    if (this.#others !== null) {
      const isNew = performance.now() - this.#others.sinceMs > SAME_SIGNAL_MS;
      if (ENDING.has(signal) && isNew) this.#others.giveUp();
      return;
    }
    if (this.#localPid === null) {
      if (!ENDING.has(signal)) return;
      this.#ending ??= signal;
      this.#abort.abort();
      return;
    }
    if (FROM_TERMINAL.includes(signal) && this.#isForeground()) return;
    this.#send(signal);
  }

  async #stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    if (!this.#isForeground()) {
      this.#hasStoppedLocal = true;
      this.#send('SIGTSTP');
    }
    await this.#pausable?.suspend();
    // SIGCONT may have come first, or the end.
    if (this.#isStopping) this.#stopNow();
  }

  /**
   * By the signal's default and not by SIGSTOP: where no shell could make us go on (an orphaned process group), the kernel
   * does not stop us. Returns when we go on.
   */
  #stopNow(): void {
    const handler = this.#handlers.get('SIGTSTP');
    if (handler === undefined) return;
    process.off('SIGTSTP', handler);
    process.kill(process.pid, 'SIGTSTP');
    process.on('SIGTSTP', handler);
    this.#continued();
  }

  #continued(): void {
    if (this.#hasStoppedLocal) this.#send('SIGCONT');
    this.#hasStoppedLocal = false;
    if (!this.#isStopping) return;
    this.#isStopping = false;
    this.#pausable?.resume();
  }

  #send(signal: NodeJS.Signals): void {
    if (this.#localPid === null) return;
    try {
      process.kill(this.#localPid, signal);
    } catch {
      // It has just ended; its end comes by the supervisor.
    }
  }
}

/** True while our process group has the terminal: proc(5) stat, fields 5 (pgrp) and 8 (tpgid). */
function isForegroundGroup(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[2] === fields[5];
  } catch {
    return false;
  }
}

export function signalName(number: number): NodeJS.Signals {
  const names = Object.keys(constants.signals) as NodeJS.Signals[];
  return names.find((name) => constants.signals[name] === number) ?? 'SIGKILL';
}
