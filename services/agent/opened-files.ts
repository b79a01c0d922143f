// What a session has open at fs-env, kept as it was asked for and answered, so that it can be opened again at the fs-env that takes
// the place of one that was killed. The client knows each by one number as long as it has it, whatever fs-env calls it now. Pure.

import { FileReply, FileRequest, type FileStat, type Open } from '#proto/gen/v1/fs_env.ts';

/** First bytes of what is encoded: fields of FileRequest and FileReply (fs_env.proto), all with a length. */
const OPEN_TAG = (1 << 3) | 2;
const CLOSE_TAG = (2 << 3) | 2;
const OPENED_TAG = (2 << 3) | 2;
/** Opened.handle comes first where it is not 0. */
const HANDLE_TAG = 1 << 3;

const O_ACCMODE = 0o3;
const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
/** Should something else have taken the file's place: it must not make us wait. */
const O_NONBLOCK = 0o4000;
const O_TMPFILE = 0o20_000_000;

const S_IFMT = 0o170_000;
const S_IFREG = 0o100_000;
const S_IFDIR = 0o040_000;

/** The client's numbers for what it opens at a later fs-env, whose own numbers it may use for other files. */
const FIRST_NUMBER = 0x8000_0000;

export type FileOperation = NonNullable<FileRequest['op']>;

interface Opened {
  readonly request: Uint8Array;
  readonly reply: Uint8Array;
  /** What fs-env calls it; null: it could not be opened again. */
  handle: number | null;
}

export interface Again {
  readonly number: number;
  readonly path: Uint8Array;
  /** What to ask for; null: it cannot be had again by its name. */
  readonly request: Uint8Array | null;
}

export class OpenedFiles {
  readonly #files = new Map<number, Opened>();
  #lastNumber = FIRST_NUMBER;
  #hasMoved = false;

  /** fs-env's numbers are the client's no more. */
  get haveMoved(): boolean {
    return this.#hasMoved;
  }

  /** Notes what a reply has opened. The reply as the client is given it: with a number of its own. */
  opened(request: Uint8Array, reply: Uint8Array): Uint8Array {
    if (!isOpen(request) || !keepsHandle(reply)) return reply;
    if (!this.#hasMoved) {
      this.#files.set(handleOf(reply), { request, reply: Buffer.from(reply), handle: handleOf(reply) });
      return reply;
    }
    const decoded = FileReply.decode(reply);
    if (decoded.result?.$case !== 'opened') return reply;
    const { handle } = decoded.result.value;
    const number = this.#free();
    this.#files.set(number, { request, reply: Buffer.from(reply), handle });
    decoded.result.value.handle = number;
    return FileReply.encode(decoded).finish();
  }

  closed(request: Uint8Array): void {
    const { op } = FileRequest.decode(request);
    if (op?.$case === 'close') this.#files.delete(op.value.handle);
  }

  /** The request with the number of today; null: its file is gone. */
  renumbered(request: Uint8Array): Uint8Array | null {
    const decoded = FileRequest.decode(request);
    const named = handleIn(decoded);
    if (named === null) return request;
    const handle = this.#files.get(named.handle)?.handle ?? null;
    if (handle === null) return null;
    named.handle = handle;
    return FileRequest.encode(decoded).finish();
  }

  /** fs-env is gone: everything is to be opened again, and answered for by `found`. */
  moving(): Again[] {
    this.#hasMoved = true;
    return [...this.#files].map(([number, file]) => {
      file.handle = null;
      const { open, stat } = openedOf(file);
      return { number, path: open.path, request: isNameable(open, stat) ? requestOf(open) : null };
    });
  }

  /** Whether what came is the file it was. What came instead is to be closed by its number, which is given then. */
  found(number: number, reply: Uint8Array): { readonly isSame: boolean; readonly unwanted: number | null } {
    const { errno, result } = FileReply.decode(reply);
    if (errno !== 0 || result?.$case !== 'opened') return { isSame: false, unwanted: null };
    const { handle, stat } = result.value;
    const file = this.#files.get(number);
    const known = file === undefined ? null : openedOf(file);
    if (file === undefined || known === null || !isSame(known.stat, stat, isReadOnly(known.open))) {
      // The client has closed it meanwhile, or another file has its name.
      return { isSame: file === undefined, unwanted: handle };
    }
    file.handle = handle;
    return { isSame: true, unwanted: null };
  }

  /**
   * Whether a request that nobody knows the fate of can be asked again: what only looks, or does the same when it is done twice.
   * Names that come and go, and what is appended, are not.
   */
  isRepeatable(request: Uint8Array): boolean {
    const { op } = FileRequest.decode(request);
    switch (op?.$case) {
      case 'open':
        return (op.value.flags & O_EXCL) === 0 && (op.value.flags & O_TMPFILE) === 0;
      case 'write': {
        const file = this.#files.get(op.value.handle);
        return file !== undefined && (openedOf(file).open.flags & O_APPEND) === 0;
      }
      case 'read':
      case 'stat':
      case 'statFs':
      case 'readDir':
      case 'readLink':
      case 'access':
      case 'setAttributes':
      case 'sync':
        return true;
      default:
        return false;
    }
  }

  #free(): number {
    do {
      this.#lastNumber = this.#lastNumber === 0xffff_ffff ? FIRST_NUMBER : this.#lastNumber + 1;
    } while (this.#files.has(this.#lastNumber));
    return this.#lastNumber;
  }
}

export function isOpen(request: Uint8Array): boolean {
  return request[0] === OPEN_TAG;
}

/** The one request without an answer. */
export function isClose(request: Uint8Array): boolean {
  return request[0] === CLOSE_TAG;
}

function keepsHandle(reply: Uint8Array): boolean {
  return reply[0] === OPENED_TAG && reply[startOfOpened(reply)] === HANDLE_TAG;
}

function startOfOpened(reply: Uint8Array): number {
  let at = 1;
  while ((reply[at] ?? 0) >= 0x80) at += 1;
  return at + 1;
}

/** Of a reply that keeps one: its bytes of seven bits each, the lowest first. */
function handleOf(reply: Uint8Array): number {
  let handle = 0;
  let at = startOfOpened(reply) + 1;
  for (let scale = 1; ; scale *= 0x80, at += 1) {
    const byte = reply[at] ?? 0;
    handle += (byte & 0x7f) * scale;
    if (byte < 0x80) return handle;
  }
}

function handleIn({ op }: FileRequest): { handle: number } | null {
  switch (op?.$case) {
    case 'close':
    case 'read':
    case 'write':
    case 'readDir':
    case 'sync':
      return op.value;
    case 'stat':
    case 'statFs':
    case 'setAttributes': {
      const { of } = op.value;
      if (of?.$case !== 'handle') return null;
      return {
        get handle() {
          return of.value;
        },
        set handle(value) {
          of.value = value;
        },
      };
    }
    default:
      return null;
  }
}

function openedOf({ request, reply }: Opened): { open: Open; stat: FileStat | undefined } {
  const { op } = FileRequest.decode(request);
  const { result } = FileReply.decode(reply);
  if (op?.$case !== 'open' || result?.$case !== 'opened') throw new Error('an opened file that was not opened');
  return { open: op.value, stat: result.value.stat };
}

/** Pipes, devices and sockets are somebody's conversation, and a file without a name has none to be opened by. */
function isNameable({ flags }: Open, stat: FileStat | undefined): boolean {
  const type = (stat?.mode ?? 0) & S_IFMT;
  return (type === S_IFREG || type === S_IFDIR) && (flags & O_TMPFILE) === 0;
}

function requestOf({ path, flags }: Open): Uint8Array {
  const again = (flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_NONBLOCK;
  const value = { path, flags: again, mode: 0, inlineBytes: 0, keepOpen: true };
  return FileRequest.encode({ op: { $case: 'open', value } }).finish();
}

function isReadOnly({ flags }: Open): boolean {
  return (flags & O_ACCMODE) === 0;
}

/**
 * By what no other file can have. Where the file system does not know when a file was born its number may be another's by now: then
 * what was only read must be unchanged.
 */
function isSame(known: FileStat | undefined, seen: FileStat | undefined, isReadOnly: boolean): boolean {
  if (known === undefined || seen === undefined) return false;
  if (known.device !== seen.device || known.inode !== seen.inode) return false;
  if ((known.mode & S_IFMT) !== (seen.mode & S_IFMT)) return false;
  if (known.bornNs !== 0n || seen.bornNs !== 0n) return known.bornNs === seen.bornNs;
  return !isReadOnly || (known.size === seen.size && known.modifiedNs === seen.modifiedNs);
}
