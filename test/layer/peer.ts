// The client's end of the wire for tests of the supervisor: serves a folder of this machine as /remote, with the true
// protocol, from the event loop of the test; slow when told so.

import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { RuleOp, RuleVerdict, WireDecoder, WireFeature, WireKind, WireSet } from '#proto/wire.ts';
import type { WireDirectoryEntry, WireStat } from '#proto/wire-body.ts';
import {
  decodeRequest,
  replyDecide,
  replyOpenedHandle,
  replyOpenedInline,
  replyOpenedMapped,
  replyRead,
  replyReadDir,
  replyReadLink,
  replyResult,
  replyStat,
  setupFrame,
  type WireRequest,
  type WireRule,
} from '#proto/wire-client.ts';

import { KernelAnswers } from '../../client/layer/kernel-answers.ts';

export const SUPERVISOR = new URL('../../layer/bin/mirrord-supervisor', import.meta.url).pathname;

export interface PeerOptions {
  /** Served as /remote. */
  folder: string;
  delayMs?: number;
  variables?: Record<string, string>;
  inlineBytes?: number;
  hostName?: string;
  /** Starts the supervisor by way of another program: setpriv, another supervisor. */
  prefix?: string[];
  cwd?: string;
  /** A folder of this machine that the rules call remote too; the target has nothing there. */
  alsoRemote?: string;
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

const O_ACCMODE = 3;

export class Peer {
  readonly child: ChildProcess;
  readonly asked: WireRequest[] = [];
  readonly logs: string[] = [];
  readonly hello: { capabilities: number; lines: string[] } = { capabilities: 0, lines: [] };
  failed: { result: number; what: string } | undefined;
  left: { status: number; left: number } | undefined;
  readonly ended: Promise<Ended>;
  readonly started: Promise<number>;
  readonly #options: PeerOptions;
  readonly #socket: Duplex;
  /** Requests that the supervisor gave up; their replies come at once. */
  readonly cancelled: bigint[] = [];
  readonly #delays = new Map<bigint, AbortController>();
  readonly #said = { stdout: '', stderr: '' };
  readonly #handles = new Map<number, { fd: number; names: fs.Dirent<Buffer>[] | undefined; path: string }>();
  #nextHandle = 1;
  readonly #kernel = KernelAnswers.open();
  /** Reads that the kernel was answered from here. */
  given = 0;
  #onStarted: (pid: number) => void = () => undefined;

  constructor(command: readonly string[], options: PeerOptions) {
    this.#options = options;
    const [file = '', ...rest] = [...(options.prefix ?? []), SUPERVISOR, '--', ...command];
    this.child = spawn(file, rest, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', ...(this.#kernel === null ? [] : [this.#kernel.descriptor])],
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', ...options.variables },
      cwd: options.cwd,
    });
    this.#socket = this.child.stdio[3] as Duplex;
    this.started = new Promise((resolve) => {
      this.#onStarted = resolve;
    });
    const said = this.#said;
    this.child.stdout?.on('data', (chunk) => {
      said.stdout += chunk;
    });
    this.child.stderr?.on('data', (chunk) => {
      said.stderr += chunk;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => resolve({ code, signal, ...said }));
    });
    const decoder = new WireDecoder();
    this.#socket.on('error', () => undefined);
    this.#socket.once('close', () => this.#kernel?.close());
    this.#socket.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) void this.#receive(frame.id, decodeRequest(frame.kind, frame.body));
    });
  }

  /** As when the client dies. */
  hangUp(): void {
    this.#socket.destroy();
  }

  /** What the program has printed so far. */
  get stdout(): string {
    return this.#said.stdout;
  }

  get openHandles(): number {
    return this.#handles.size;
  }

  count(kind: WireKind): number {
    return this.asked.filter((request) => request.kind === kind).length;
  }

  async #receive(id: bigint, request: WireRequest): Promise<void> {
    if (request.kind === WireKind.HELLO) {
      Object.assign(this.hello, { capabilities: request.capabilities, lines: request.lines });
      this.#write(
        setupFrame({
          features: 3 | (this.#options.hostName === undefined ? 0 : WireFeature.HOST_NAME),
          inlineBytes: this.#options.inlineBytes ?? 65_536,
          hostName: Buffer.from(this.#options.hostName ?? ''),
          rules: rules(this.#options.alsoRemote),
        }),
      );
    } else if (request.kind === WireKind.STARTED) this.#onStarted(request.pid);
    else if (request.kind === WireKind.FAILED) this.failed = request;
    else if (request.kind === WireKind.ENDED) this.left = request;
    else if (request.kind === WireKind.LOG) this.logs.push(request.text);
    else if (request.kind === WireKind.RELEASE) this.#release(request.handle);
    else if (request.kind === WireKind.CANCEL) {
      this.cancelled.push(id);
      this.#delays.get(id)?.abort();
    } else {
      this.asked.push(request);
      await this.#delay(id);
      let reply: Buffer[];
      try {
        reply = this.#answer(id, request);
      } catch (error) {
        reply = replyResult(id, (error as NodeJS.ErrnoException).errno ?? -5);
      }
      this.#write(reply);
    }
  }

  async #delay(id: bigint): Promise<void> {
    if (!this.#options.delayMs) return;
    const controller = new AbortController();
    this.#delays.set(id, controller);
    await delay(this.#options.delayMs, undefined, { signal: controller.signal }).catch(() => undefined);
    this.#delays.delete(id);
  }

  #write(pieces: Buffer[]): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(pieces));
  }

  #release(handle: number): void {
    const open = this.#handles.get(handle);
    this.#handles.delete(handle);
    if (open) fs.closeSync(open.fd);
  }

  #real(path: Buffer): string {
    const text = path.toString();
    return text.startsWith('/remote') ? text.replace('/remote', this.#options.folder) : `${this.#options.folder}/none`;
  }

  #answer(id: bigint, request: WireRequest): Buffer[] {
    if ('handle' in request) return this.#answerHandle(id, request);
    if ('path' in request && request.path.includes('/ask/')) {
      if (request.kind === WireKind.DECIDE) return replyDecide(id, RuleVerdict.LOCAL);
      if (request.kind === WireKind.OPEN && request.path.toString().endsWith('mapped')) {
        return replyOpenedMapped(id, Buffer.from(`${this.#options.folder}/plain`));
      }
      return replyResult(id, -4096);
    }
    switch (request.kind) {
      case WireKind.OPEN:
        return this.#open(id, request);
      case WireKind.STAT: {
        const path = this.#real(request.path);
        return replyStat(id, statOf(request.flags ? lstat(path) : stat(path)));
      }
      case WireKind.ACCESS:
        fs.accessSync(this.#real(request.path), request.mode);
        return replyResult(id, 0);
      case WireKind.READLINK:
        return replyReadLink(id, Buffer.from(fs.readlinkSync(this.#real(request.path))));
      case WireKind.MKDIR:
        fs.mkdirSync(this.#real(request.path), request.mode);
        return replyResult(id, 0);
      case WireKind.RMDIR:
        fs.rmdirSync(this.#real(request.path));
        return replyResult(id, 0);
      case WireKind.UNLINK:
        fs.unlinkSync(this.#real(request.path));
        return replyResult(id, 0);
      case WireKind.RENAME:
        fs.renameSync(this.#real(request.from), this.#real(request.to));
        return replyResult(id, 0);
      case WireKind.SYMLINK:
        fs.symlinkSync(request.target, this.#real(request.path));
        return replyResult(id, 0);
      case WireKind.SETATTR: {
        const path = this.#real(request.path);
        if (request.set.valid & WireSet.MODE) fs.chmodSync(path, request.set.mode);
        if (request.set.valid & WireSet.SIZE) fs.truncateSync(path, Number(request.set.size));
        return replyStat(id, statOf(stat(path)));
      }
      default:
        return replyResult(id, -95);
    }
  }

  #open(id: bigint, request: Extract<WireRequest, { kind: typeof WireKind.OPEN }>): Buffer[] {
    const path = this.#real(request.path);
    const fd = fs.openSync(path, request.flags, request.mode);
    const found = fs.fstatSync(fd, { bigint: true });
    const isRead = (request.flags & O_ACCMODE) === 0;
    if (isRead && found.isFile() && found.size <= (this.#options.inlineBytes ?? 65_536)) {
      const content = fs.readFileSync(fd);
      fs.closeSync(fd);
      return replyOpenedInline(id, statOf(found), content);
    }
    const names = found.isDirectory() ? fs.readdirSync(path, { withFileTypes: true, encoding: 'buffer' }) : undefined;
    const handle = this.#nextHandle++;
    this.#handles.set(handle, { fd, names, path });
    return replyOpenedHandle(id, handle, statOf(found));
  }

  #answerHandle(id: bigint, request: Extract<WireRequest, { handle: number }>): Buffer[] {
    const open = this.#handles.get(request.handle);
    if (!open) return replyResult(id, -9);
    switch (request.kind) {
      case WireKind.READ: {
        const data = Buffer.alloc(request.length);
        return replyRead(id, data.subarray(0, fs.readSync(open.fd, data, 0, data.length, Number(request.offset))));
      }
      case WireKind.READ_FOR: {
        const data = Buffer.alloc(request.length);
        const bytes = fs.readSync(open.fd, data, 0, data.length, Number(request.offset));
        if (bytes > 0 && this.#kernel?.give(request.unique, bytes, [data.subarray(0, bytes)]) !== true)
          return replyRead(id, data.subarray(0, bytes));
        this.given += 1;
        return replyResult(id, bytes);
      }
      case WireKind.WRITE:
        return replyResult(id, fs.writeSync(open.fd, request.data, 0, request.data.length, Number(request.offset)));
      case WireKind.FSETATTR:
        if (request.set.valid & WireSet.MODE) fs.fchmodSync(open.fd, request.set.mode);
        if (request.set.valid & WireSet.SIZE) fs.ftruncateSync(open.fd, Number(request.set.size));
        return replyStat(id, statOf(fs.fstatSync(open.fd, { bigint: true })));
      case WireKind.FSTAT:
        return replyStat(id, statOf(fs.fstatSync(open.fd, { bigint: true })));
      case WireKind.READDIR:
        return replyReadDir(id, this.#page(open, Number(request.cookie), request.entries));
      default:
        return replyResult(id, 0);
    }
  }

  #page(open: { names: fs.Dirent<Buffer>[] | undefined; path: string }, from: number, count: number) {
    const all = open.names ?? [];
    const entries: WireDirectoryEntry[] = all.slice(from, from + Math.min(count, 500)).map((entry, index) => ({
      inode: lstat(`${open.path}/${entry.name}`).ino,
      cookie: BigInt(from + index + 1),
      type: entry.isDirectory() ? 4 : entry.isSymbolicLink() ? 10 : 8,
      name: entry.name,
    }));
    const next = from + entries.length;
    return { next: BigInt(next), isLast: next >= all.length, entries };
  }
}

function rules(alsoRemote: string | undefined): WireRule[] {
  const rule = (op: RuleOp, verdict: RuleVerdict, literal: string): WireRule => ({
    op,
    verdict,
    foldCase: false,
    relative: false,
    readsOnly: false,
    literal: Buffer.from(literal),
  });
  return [
    rule(RuleOp.PREFIX, RuleVerdict.ASK, '/remote/ask/'),
    rule(RuleOp.EXACT, RuleVerdict.NOT_FOUND, '/remote/hidden'),
    rule(RuleOp.DIR, RuleVerdict.REMOTE, '/remote'),
    ...(alsoRemote === undefined ? [] : [rule(RuleOp.DIR, RuleVerdict.REMOTE, alsoRemote)]),
  ];
}

function stat(path: string): fs.BigIntStats {
  return fs.statSync(path, { bigint: true });
}

function lstat(path: string): fs.BigIntStats {
  return fs.lstatSync(path, { bigint: true });
}

function statOf(from: fs.BigIntStats): WireStat {
  return {
    device: from.dev,
    inode: from.ino,
    mode: Number(from.mode),
    links: Number(from.nlink),
    uid: Number(from.uid),
    gid: Number(from.gid),
    specialDevice: from.rdev,
    size: from.size,
    blockSize: Number(from.blksize),
    blocks: from.blocks,
    accessedNs: from.atimeNs,
    modifiedNs: from.mtimeNs,
    changedNs: from.ctimeNs,
    bornNs: from.birthtimeNs,
  };
}
