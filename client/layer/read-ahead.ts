// Makes a sequential reader of one open file fast on a long line: once it has shown itself, pieces are asked for before
// they are needed. A reader that jumps costs nothing extra. Holds no policy about files; `fetch` reads the target.
//
// What is held may be as old as MAX_AGE_MS, within one open file, and never older than a write of our own.

export interface Fetched {
  errno: number;
  /** In order. */
  pieces: readonly Uint8Array[];
  /** Of all pieces: fewer than asked for only at the end of the file. */
  bytes: number;
  /** Nobody looks at the pieces any more. */
  giveBack?: () => void;
}

export interface ReadResult {
  errno: number;
  /** In order; together the bytes read. */
  chunks: Uint8Array[];
  bytes: number;
  /** The chunks have been used, and nobody looks at them any more. Who cannot say so never calls it. */
  giveBack?: () => void;
}

export type Fetch = (offset: number, length: number) => Promise<Fetched>;

/** The largest read of the session stream (fs_env.proto). */
export const PIECE_BYTES = 256 * 1024;
/** What the session credit lets be in flight; 25 MB/s at 100 ms round trip. */
const MAX_WINDOW_BYTES = 3 * 1024 * 1024;
/** The kernel sends the reads of its own read-ahead in parallel: so far out of order, or two reads, is still in order. */
const TOLERANCE_BYTES = 256 * 1024;
const MAX_AGE_MS = 5_000;
/** What came with the open says where the file ends, which the local kernel believes for a second (layer/fuse_server.h). */
const MAX_AGE_OF_WHOLE_MS = 1_000;

/** Bytes that all files of a session together may hold ahead of their readers. At the limit files read without. */
export class ReadAheadBudget {
  readonly #files = new Set<ReadAhead>();
  #freeBytes: number;

  constructor(limitBytes = 16 * 1024 * 1024) {
    this.#freeBytes = limitBytes;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  take(bytes: number, nowMs: number): boolean {
    if (bytes > this.#freeBytes) for (const file of this.#files) file.expire(nowMs);
    if (bytes > this.#freeBytes) return false;
    this.#freeBytes -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#freeBytes += bytes;
  }

  join(file: ReadAhead): void {
    this.#files.add(file);
  }

  leave(file: ReadAhead): void {
    this.#files.delete(file);
  }
}

interface Piece {
  readonly start: number;
  readonly end: number;
  /** GONE once it is dropped: who still has the piece, a dead list that the collector has not come to, has not its bytes. */
  answer: Promise<Fetched>;
  /** Of the budget; 0 for what a reader waits for. */
  readonly chargedBytes: number;
  readonly maxAgeMs: number;
  arrivedMs: number | null;
  isDropped: boolean;
  /** Handed to readers; what has all been is not kept. */
  givenBytes: number;
  /** Readers that wait for it or have chunks of it, and ourselves while it is kept: then its bytes are given back. */
  holders: number;
  giveBack: (() => void) | undefined;
}

export class ReadAhead {
  readonly #fetch: Fetch;
  readonly #budget: ReadAheadBudget;
  readonly #now: () => number;
  /** Sorted by start, without overlap. */
  #pieces: Piece[] = [];
  #windowBytes = 0;
  #nextOffset = 0;
  #hasRead = false;
  /** Nothing is fetched ahead beyond it; grows when the file turns out to. */
  #sizeBytes: number;

  constructor(fetch: Fetch, budget: ReadAheadBudget, sizeBytes: number, now: () => number = () => performance.now()) {
    this.#fetch = fetch;
    this.#budget = budget;
    this.#sizeBytes = sizeBytes;
    this.#now = now;
    budget.join(this);
  }

  async read(offset: number, length: number): Promise<ReadResult> {
    const nowMs = this.#now();
    this.expire(nowMs);
    const end = offset + length;
    const isSequential = this.#noteReader(offset, end);
    const needed = this.#cover(offset, end);
    if (isSequential) this.#runAhead(end, nowMs);
    for (const piece of needed) piece.holders += 1;
    const result = await collect(needed, offset, end);
    if (result.bytes === length) this.#sizeBytes = Math.max(this.#sizeBytes, end);
    for (const piece of needed) piece.givenBytes += Math.min(end, piece.end) - Math.max(offset, piece.start);
    const least = this.#nextOffset - toleranceBytes(length);
    this.#dropWhere((piece) => piece.end <= least || piece.givenBytes >= piece.end - piece.start);
    const giveBack = () => {
      for (const piece of needed.splice(0)) letGo(piece);
    };
    if (result.bytes > 0) result.giveBack = giveBack;
    else giveBack();
    return result;
  }

  /** The whole file, which came with its open: the first read costs no round trip. */
  offer(data: Uint8Array): void {
    const nowMs = this.#now();
    if (data.length >= PIECE_BYTES || !this.#budget.take(data.length, nowMs)) return;
    const answer = Promise.resolve({ errno: 0, pieces: [data], bytes: data.length });
    const times = {
      maxAgeMs: MAX_AGE_OF_WHOLE_MS,
      arrivedMs: nowMs,
      isDropped: false,
      givenBytes: 0,
      holders: 1,
      giveBack: undefined,
    };
    this.#insert([{ start: 0, end: PIECE_BYTES, answer, chargedBytes: data.length, ...times }]);
  }

  /** The file has changed: nothing fetched before may be given out from now on. */
  invalidate(sizeBytes: number | null = null): void {
    this.#dropWhere(() => true);
    if (sizeBytes !== null) this.#sizeBytes = sizeBytes;
  }

  close(): void {
    this.invalidate();
    this.#budget.leave(this);
  }

  /** A reader slower than the line lets pieces grow old: it gets a smaller window. */
  expire(nowMs: number): void {
    const isOld = (piece: Piece) => piece.arrivedMs !== null && nowMs - piece.arrivedMs > piece.maxAgeMs;
    if (!this.#pieces.some(isOld)) return;
    this.#dropWhere(isOld);
    this.#windowBytes = Math.floor(this.#windowBytes / 4);
  }

  /** The window opens with the second read in order and doubles with each: a look at a file's head costs no more. */
  #noteReader(offset: number, end: number): boolean {
    const distance = Math.abs(offset - this.#nextOffset);
    const isSequential = distance <= toleranceBytes(end - offset) && (this.#hasRead || offset === 0);
    if (!isSequential) {
      this.#windowBytes = 0;
      this.#nextOffset = end;
      this.#dropWhere((piece) => piece.end <= offset || piece.start >= end);
    } else if (this.#hasRead && end > this.#nextOffset) {
      this.#windowBytes = Math.min(MAX_WINDOW_BYTES, Math.max(PIECE_BYTES, this.#windowBytes * 2));
    }
    if (isSequential) this.#nextOffset = Math.max(this.#nextOffset, end);
    this.#hasRead = true;
    return isSequential;
  }

  /** The pieces that hold [offset, end), those missing now asked for. */
  #cover(offset: number, end: number): Piece[] {
    const needed: Piece[] = [];
    let at = offset;
    for (const piece of this.#pieces) {
      if (piece.end <= at || piece.start >= end) continue;
      if (piece.start > at) needed.push(...this.#ask(at, piece.start));
      needed.push(piece);
      at = piece.end;
    }
    if (at < end) needed.push(...this.#ask(at, end));
    this.#insert(needed.filter((piece) => !this.#pieces.includes(piece)));
    return needed;
  }

  #ask(start: number, end: number): Piece[] {
    const pieces: Piece[] = [];
    for (let at = start; at < end; at += PIECE_BYTES) pieces.push(this.#begin(at, Math.min(end, at + PIECE_BYTES), 0));
    return pieces;
  }

  #runAhead(end: number, nowMs: number): void {
    const target = Math.min(end + this.#windowBytes, this.#sizeBytes);
    let at = Math.max(end, this.#pieces.at(-1)?.end ?? 0);
    // A whole piece at a time, or the file's last: small pieces would cost more than they bring.
    while (at < target && (target - at >= PIECE_BYTES || target === this.#sizeBytes)) {
      const bytes = Math.min(PIECE_BYTES, target - at);
      if (!this.#budget.take(bytes, nowMs)) return;
      this.#insert([this.#begin(at, at + bytes, bytes)]);
      at += bytes;
    }
  }

  #begin(start: number, end: number, chargedBytes: number): Piece {
    const answer = this.#fetch(start, end - start);
    const times = {
      maxAgeMs: MAX_AGE_MS,
      arrivedMs: null,
      isDropped: false,
      givenBytes: 0,
      holders: 1,
      giveBack: undefined,
    };
    const piece: Piece = { start, end, answer, chargedBytes, ...times };
    const arrived = () => {
      piece.arrivedMs = this.#now();
      if (piece.isDropped) this.#budget.give(chargedBytes);
    };
    answer.then(
      (fetched) => {
        arrived();
        if (piece.holders === 0) fetched.giveBack?.();
        else piece.giveBack = fetched.giveBack;
        // The file's end is asked for anew each time: it may have grown.
        if (fetched.errno !== 0 || fetched.bytes < end - start) this.#dropWhere((other) => other === piece);
      },
      () => {
        arrived();
        this.#dropWhere((other) => other === piece);
      },
    );
    return piece;
  }

  #insert(pieces: Piece[]): void {
    if (pieces.length === 0) return;
    this.#pieces.push(...pieces);
    this.#pieces.sort((a, b) => a.start - b.start);
  }

  #dropWhere(isUnwanted: (piece: Piece) => boolean): void {
    if (!this.#pieces.some(isUnwanted)) return;
    this.#pieces = this.#pieces.filter((piece) => {
      if (!isUnwanted(piece)) return true;
      piece.isDropped = true;
      piece.answer = GONE;
      // One still on its way is paid for until it is here.
      if (piece.arrivedMs !== null) this.#budget.give(piece.chargedBytes);
      letGo(piece);
      return false;
    });
  }
}

const GONE: Promise<Fetched> = Promise.resolve({ errno: 0, pieces: [], bytes: 0 });

function letGo(piece: Piece): void {
  piece.holders -= 1;
  if (piece.holders > 0) return;
  piece.giveBack?.();
  piece.giveBack = undefined;
}

function toleranceBytes(length: number): number {
  return Math.max(TOLERANCE_BYTES, 2 * length);
}

async function collect(needed: Piece[], offset: number, end: number): Promise<ReadResult> {
  const chunks: Uint8Array[] = [];
  let at = offset;
  for (const { piece, answer } of needed.map((piece) => ({ piece, answer: piece.answer }))) {
    const { errno, pieces: parts, bytes } = await answer;
    if (errno !== 0) return at === offset ? { errno, chunks: [], bytes: 0 } : { errno: 0, chunks, bytes: at - offset };
    let start = piece.start;
    for (const part of parts) {
      const chunk = part.subarray(Math.max(0, at - start), Math.max(0, end - start));
      if (chunk.length > 0) chunks.push(chunk);
      at += chunk.length;
      start += part.length;
    }
    if (bytes < piece.end - piece.start) break;
  }
  return { errno: 0, chunks, bytes: at - offset };
}
