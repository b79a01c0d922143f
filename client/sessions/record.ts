// What a run tells of itself while it lives, for `mirrord session` of the same user: one file, whose name says whose it is, so
// that what a killed client left is known as such. Synchronous, like the folder of a run (runtime-folder.ts).

import { lstatSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTicksOf } from '../runtime-folder.ts';
import type { SessionFacts } from './facts.ts';

export interface RunningSession extends SessionFacts {
  readonly id: string;
  readonly pid: number;
  /** RFC 3339. */
  readonly startedAt: string;
  /** Of the target, that the local process stands for. */
  readonly ports: readonly number[];
  /** What others are told of its places on them, by who gave them. */
  readonly leases: readonly string[];
}

export type TellPorts = (ports: readonly number[]) => Promise<void>;

/** A client's record; `stop` beside it bears who asked it to end. */
const NAME = /^mirrord-session-([0-9]+)-([0-9]+)-([a-z0-9-]{1,64})\.json$/;
const MAX_BYTES = 64 * 1024;

export class SessionRecord {
  readonly #path: string;
  readonly #ports = new Map<number, string>();
  readonly #tell: TellPorts | undefined;
  #session: RunningSession;
  #isTelling = false;

  private constructor(path: string, session: RunningSession, tell: TellPorts | undefined) {
    this.#path = path;
    this.#session = session;
    this.#tell = tell;
  }

  /**
   * @param tell where others than this user look
   * @returns null where no file can be made: the run does not depend on it
   */
  static open(env: NodeJS.ProcessEnv, id: string, facts: SessionFacts, tell?: TellPorts): SessionRecord | null {
    const session = { ...facts, id, pid: process.pid, startedAt: new Date().toISOString(), ports: [], leases: [] };
    for (const parent of parentsOf(env)) {
      const path = join(parent, `mirrord-session-${process.pid}-${startTicksOf('self') ?? '0'}-${id}.json`);
      try {
        write(path, session);
        return new SessionRecord(path, session, tell);
      } catch {
        // XDG_RUNTIME_DIR may be that of another user, under sudo.
      }
    }
    return null;
  }

  /** @param lease empty where there is none */
  addPort(port: number, lease = ''): void {
    if (this.#ports.get(port) === lease) return;
    this.#ports.set(port, lease);
    const all = [...this.#ports].sort(([a], [b]) => a - b);
    const leases = all.map(([, one]) => one).filter((one) => one !== '');
    this.#session = { ...this.#session, ports: all.map(([one]) => one), leases };
    try {
      write(this.#path, this.#session);
    } catch {
      // What is listed is older then.
    }
    if (!this.#isTelling) void this.#tellOthers();
  }

  /** One telling after the other, each of what is so by then. */
  async #tellOthers(): Promise<void> {
    this.#isTelling = true;
    try {
      for (let told = 0; told < this.#ports.size; ) {
        told = this.#ports.size;
        await this.#tell?.(this.#session.ports);
      }
    } catch {
      // Who may not write there, or ends meanwhile: what others see is older then.
    } finally {
      this.#isTelling = false;
    }
  }

  /** Who asked us to end; null when nobody did. */
  get stoppedBy(): string | null {
    return readOwn(stopPath(this.#path));
  }

  close(): void {
    for (const path of [this.#path, stopPath(this.#path)]) rmSync(path, { force: true });
  }
}

export interface RecordedSession extends RunningSession {
  readonly path: string;
  /** With the number it tells its client from a later process of that number. */
  readonly startTicks: string;
}

/** Of this user, on this machine. Records of clients that are gone are removed. */
export function runningSessions(env: NodeJS.ProcessEnv): RecordedSession[] {
  const found = new Map<string, RecordedSession>();
  for (const parent of parentsOf(env)) {
    for (const name of namesIn(parent)) {
      const [, pid, ticks, id] = NAME.exec(name) ?? [];
      if (pid === undefined || ticks === undefined || id === undefined) continue;
      const path = join(parent, name);
      const text = readOwn(path);
      if (text === null) continue;
      const session = startTicksOf(pid) === ticks ? parse(text) : null;
      // Whose it is says its name, and nothing in it: a signal goes to nobody else.
      if (session !== null) found.set(id, { ...session, id, pid: Number(pid), startTicks: ticks, path });
      else for (const left of [path, stopPath(path)]) rmSync(left, { force: true });
    }
  }
  return [...found.values()].sort((a, b) => a.startedAt.localeCompare(b.startedAt));
}

/** Its client passes the signal on to the local process, as if its user had sent it, and says who asked. */
export function askToStop({ path, pid, startTicks }: RecordedSession, by: string): void {
  rmSync(stopPath(path), { force: true });
  writeFileSync(stopPath(path), by, { mode: 0o600, flag: 'wx' });
  if (startTicksOf(String(pid)) === startTicks) process.kill(pid, 'SIGTERM');
}

/** Null for what is no record of ours. */
function parse(text: string): RunningSession | null {
  try {
    const session = Object(JSON.parse(text)) as RunningSession;
    const { target, from, incoming, startedAt, ports, leases = [] } = session;
    const isWhole = [target, from, incoming, startedAt].every((one) => typeof one === 'string');
    return isWhole && [ports, leases].every(Array.isArray) ? { ...session, leases } : null;
  } catch {
    return null;
  }
}

function parentsOf(env: NodeJS.ProcessEnv): string[] {
  const temporary = env['TMPDIR'] || tmpdir();
  return [...new Set([env['XDG_RUNTIME_DIR'] || temporary, temporary])];
}

function namesIn(parent: string): string[] {
  try {
    return readdirSync(parent);
  } catch {
    return [];
  }
}

/** In one step: who reads it finds the whole. Nothing that lies there already is followed or written to. */
function write(path: string, session: RunningSession): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, JSON.stringify(session), { mode: 0o600, flag: 'wx' });
  renameSync(temporary, path);
}

/** A file of ours; null for what is not there, or another's in a folder that all may write to. */
function readOwn(path: string): string | null {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true || found.uid !== process.geteuid?.() || found.size > MAX_BYTES) return null;
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

function stopPath(path: string): string {
  return path.replace(/\.json$/, '.stop');
}
