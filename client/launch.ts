// Runs the local process under the supervisor, answers what the layer asks while it runs, and says how it ended. The
// terminal, the process group and the environment are the local process's own; descriptors 3 and 4 of the supervisor are ours.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { ERRNO, errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { WireCan, WireLogLevel } from '#proto/wire.ts';
import type { Setup } from '#proto/wire-client.ts';
import { compileLater } from './compile-later.ts';
import type { Incoming } from './incoming/incoming.ts';
import type { KernelAnswers } from './layer/kernel-answers.ts';
import { LayerLink, type LinkHandlers } from './layer/link.ts';
import { shortage } from './local-shortage.ts';
import type { Log } from './log.ts';
import type { Network } from './network/network.ts';
import { type Signals, signalName } from './signals.ts';
import type { Outcome } from './terminal.ts';
import { eachOnce } from './troubles.ts';

export interface LaunchOptions {
  supervisorFile: string;
  command: readonly string[];
  /** Complete: nothing of our own environment is added. */
  env: Record<string, string>;
  cwd: string;
  setup: Setup;
  /** A descriptor of /dev/fuse in `kernel` is the supervisor's too. */
  files: Pick<LinkHandlers, 'answer' | 'release'> & { close(): void; kernel: Pick<KernelAnswers, 'descriptor'> | null };
  /** null: connections of the local process are its own. */
  network: Network | null;
  /** null: sockets that listen are its own. */
  incoming: Incoming | null;
  signals: Signals;
  log: Log;
  /**
   * The local process starts next: the terminal is its from now on. The lines are the supervisor's words on what the layer
   * lacks on this machine.
   */
  onReady: (lines: string[]) => void;
  /** The local process has ended so; we wait for as many processes that it left. */
  onBackground: (outcome: Outcome, left: number) => void;
  /** Something of the local process's is not as it would be in the target, and why. */
  onTrouble: (text: string) => void;
}

/** Shells': the command was found but cannot be run, and was not found (POSIX sh, 2.8.2). */
const EXIT_CANNOT_RUN = 126;
const EXIT_NOT_FOUND = 127;

const HELLO_DEADLINE_MS = 10_000;
/** For what a supervisor that has ended said before; it is in the socket already. */
const LAST_WORDS_MS = 2_000;
/** Between the end of the link and that of the supervisor, where both end as they should. */
const GONE_AFTER_MS = 500;
const SUPERVISOR_GONE =
  "the part of mirrord that serves the local process was killed: it goes on with what is of this machine, the files and connections of the target fail (EIO), and the ports are the target's again";

/** Resolves when the supervisor has ended; rejects when the local process could not be started for a reason of ours. */
export async function launch(options: LaunchOptions): Promise<Outcome> {
  const { supervisorFile, command, env, cwd } = options;
  const { kernel } = options.files;
  const child = startSupervisor(supervisorFile, ['--', ...command], {
    cwd,
    env,
    stdio: ['inherit', 'inherit', 'inherit', 'pipe', 'ipc', ...(kernel === null ? [] : [kernel.descriptor])],
  });
  // Node says why in the next turn, and has made none of its pipes.
  if (child.pid === undefined) throw cannotStart((await once(child, 'error'))[0]);
  compileLater();
  return new Launch(child, options).ended;
}

/** Some shortages are thrown, and others told by an event. */
function startSupervisor(file: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  try {
    return spawn(file, args, options);
  } catch (cause) {
    throw cannotStart(cause);
  }
}

const cannotStart = (cause: unknown) => shortage('the supervisor could not be started', cause, { inFolder: false });

class Launch {
  readonly ended: Promise<Outcome>;
  readonly #options: LaunchOptions;
  readonly #child: ChildProcess;
  readonly #link: LayerLink;
  readonly #helloTimer: NodeJS.Timeout;
  readonly #tellTrouble: (text: string) => void;
  #goneTimer: NodeJS.Timeout | undefined;
  #isOver = false;
  #hasStarted = false;
  #isLinkClosed = false;
  #onLinkClosed: () => void = () => undefined;
  #failure: AppError | null = null;
  /** Ends the waiting for processes that the local process left. */
  #giveUp: (outcome: Outcome) => void = () => {};

  constructor(child: ChildProcess, options: LaunchOptions) {
    this.#child = child;
    this.#options = options;
    this.#tellTrouble = eachOnce(options.onTrouble);
    this.#link = new LayerLink(child.stdio[3] as Duplex, {
      answer: (id, question, signal) => options.files.answer(id, question, signal),
      release: (handle) => options.files.release(handle),
      onHello: (capabilities, lines) => this.#greeted(capabilities, lines),
      onStarted: (pid) => this.#started(pid),
      onFailed: (result, what) => this.#failed(result, what),
      onLog: (level, text) => this.#logged(level, text),
      onEnded: (status, left) => this.#leftBehind(outcomeOf(status), left),
      receiveNet: (frame) => options.network?.receive(frame),
      receiveIncoming: (frame) => options.incoming?.receive(frame),
      onClosed: (error) => this.#linkClosed(error),
    });
    options.network?.attach(this.#link, true);
    options.incoming?.attach(this.#link);
    child.on('message', (message, handle) => this.#handed(message, handle));
    // Of a descriptor that there was none for here Node tells the sender, and nobody else: its message is not passed on.
    child.on('internalMessage', (message, handle) => {
      const { cmd, msg } = Object(message) as { cmd?: unknown; msg?: unknown };
      if (cmd === 'NODE_HANDLE' && !handle) this.#handed(msg, handle);
    });
    this.#helloTimer = setTimeout(() => {
      this.#failure = new AppError('BUG', `the supervisor said nothing within ${HELLO_DEADLINE_MS} ms`);
      child.kill('SIGKILL');
    }, HELLO_DEADLINE_MS);
    this.ended = this.#untilEnd();
  }

  #untilEnd(): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const done = (act: () => void) => {
        clearTimeout(this.#helloTimer);
        clearTimeout(this.#goneTimer);
        this.#isOver = true;
        this.#options.signals.localProcessEnded();
        this.#link.close();
        if (this.#child.connected) this.#child.disconnect();
        act();
      };
      this.#giveUp = (outcome) => {
        this.#options.network?.abandon();
        done(() => resolve(outcome));
      };
      this.#child.once('error', (cause) => {
        done(() => reject(cannotStart(cause)));
      });
      this.#child.once('exit', (code, signal) => {
        this.#lastWords(() =>
          done(() => {
            const failure = this.#failure ?? this.#earlyEnd(code, signal);
            if (failure !== null) reject(failure);
            else resolve(signal === null ? { kind: 'exit', code: code ?? 0 } : { kind: 'signal', signal });
          }),
        );
      });
    });
  }

  /** The end of a process can be seen before what it said last: why nothing was started, or that something was. */
  #lastWords(act: () => void): void {
    if (this.#hasStarted || this.#failure !== null || this.#isLinkClosed) {
      act();
      return;
    }
    const timer = setTimeout(() => this.#onLinkClosed(), LAST_WORDS_MS);
    this.#onLinkClosed = () => {
      clearTimeout(timer);
      this.#onLinkClosed = () => undefined;
      act();
    };
  }

  #greeted(capabilities: number, lines: string[]): Setup {
    clearTimeout(this.#helloTimer);
    const { log, onReady, setup } = this.#options;
    const hasFuse = (capabilities & WireCan.FUSE) !== 0;
    log.info('supervisor ready', { capabilities, hasFuse, says: lines.join('; ') });
    onReady(hasFuse ? [] : lines);
    return setup;
  }

  #handed(message: unknown, handle: unknown): void {
    const { network, log } = this.#options;
    const { flow } = Object(message) as { flow?: unknown };
    // Lost on the way where descriptors ran out; the supervisor's own end then tells the local process.
    if (!isHandle(handle) || typeof flow !== 'string' || network === null) {
      log.warn('a connection could not be taken over', { flow: String(flow) });
      if (typeof flow === 'string') network?.giveUp(BigInt(flow));
      return;
    }
    network.adopt(BigInt(flow), { fd: handle.fd, close: () => handle.close() });
  }

  #started(pid: number): void {
    this.#hasStarted = true;
    this.#options.log.info('local process started', { pid });
    this.#options.signals.localProcessStarted(pid);
  }

  #leftBehind(outcome: Outcome, left: number): void {
    const { log, onBackground, signals } = this.#options;
    log.info('local process ended, others go on', { left });
    onBackground(outcome, left);
    signals.othersGoOn(() => this.#giveUp(outcome));
  }

  #failed(result: number, what: string): void {
    this.#options.log.error('local process not started', { errno: -result, what });
    if (this.#hasStarted) return;
    const [command = ''] = this.#options.command;
    this.#failure = what.startsWith(`${command}: `) ? commandFailure(command, -result) : machineFailure(what, -result);
  }

  #logged(level: number, text: string): void {
    const { log } = this.#options;
    if (level === WireLogLevel.ERROR) log.error('supervisor', { text });
    else if (level === WireLogLevel.WARN) log.warn('supervisor', { text });
    else log.debug('supervisor', { text });
    if (level === WireLogLevel.ERROR || level === WireLogLevel.WARN) this.#tellTrouble(text);
  }

  #linkClosed(error: AppError | null): void {
    this.#isLinkClosed = true;
    this.#onLinkClosed();
    this.#options.network?.close();
    void this.#options.incoming?.finish();
    this.#options.files.close();
    if (this.#hasStarted && !this.#isOver)
      this.#goneTimer = setTimeout(() => this.#tellTrouble(SUPERVISOR_GONE), GONE_AFTER_MS);
    if (error === null) return;
    this.#options.log.error('link to the supervisor broken', { code: error.code, message: error.message });
  }

  /** Ended before there was a local process, and without a word: not the local process's own end. */
  #earlyEnd(code: number | null, signal: NodeJS.Signals | null): AppError | null {
    if (this.#hasStarted) return null;
    if (this.#options.signals.ending !== null) return new AppError('CANCELLED', 'interrupted');
    const how = signal ?? `exit code ${code}`;
    return new AppError('BUG', `the supervisor ended before the local process started (${how})`);
  }
}

/** What child_process makes of a descriptor of the type `net.Native`: it holds it and does nothing with it. */
function isHandle(value: unknown): value is { readonly fd: number; close(): void } {
  const { fd, close } = Object(value) as { fd?: unknown; close?: unknown };
  return typeof fd === 'number' && fd >= 0 && typeof close === 'function';
}

/** wait(2): the low seven bits are the signal, the next byte is the exit code. */
function outcomeOf(status: number): Outcome {
  const number = status & 0x7f;
  return number === 0 ? { kind: 'exit', code: (status >> 8) & 0xff } : { kind: 'signal', signal: signalName(number) };
}

/** It was found before: what the kernel misses is what it names. */
function commandFailure(command: string, errno: number): AppError {
  const isMissing = errno === ERRNO.ENOENT;
  const why = isMissing ? 'its interpreter (the #! line, or the dynamic loader) does not exist' : errnoName(errno);
  return new AppError('CONFIG_INVALID', `${command} cannot be run: ${why}`, {
    errno,
    data: {
      exitCode: isMissing ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN,
      advice: isMissing
        ? 'its first line, or for a binary `file`, names what it wants: install that, or correct the line.'
        : 'does it run without mirrord? If so, please report it with the log.',
    },
  });
}

/** The supervisor's own word on what this machine refuses it. */
function machineFailure(what: string, errno: number): AppError {
  const message = `the local process cannot be started: ${what} (${errnoName(errno)})`;
  const advice = 'see Limits in docs/exec.md for what this machine must have.';
  if (errno === ERRNO.EBUSY) return new AppError('CONFIG_INVALID', message, { errno, data: { advice } });
  if (errno === ERRNO.EPERM || errno === ERRNO.EACCES) {
    return new AppError('NOT_PERMITTED', message, { errno, data: { advice } });
  }
  return new AppError('UNSUPPORTED', message, { errno, data: { advice, move: 'admin' } });
}
