// Whether a local process owes an answer on a copy of HTTP/1: a peer that has its answer from the target ends the connection, and a
// slower local process would take that end, where it comes before its own answer, for a client that has gone. Pure: it looks at
// what pieces begin with, and is wrong at worst about when the end comes.

/** What a request begins with (RFC 9112 section 3). */
const REQUEST_LINE = /^[!#-'*+.0-9^-z|~A-Z-]{1,32} [!-~]+ HTTP\/1\.[01]\r\n/;
/** A longer one is taken for none. */
const MAX_LINE_BYTES = 8 * 1024;
const ANSWER = /^HTTP\/1\.[01] (?!10[023])/;
const ANSWER_BYTES = 12;
/** An answer that has begun is over when nothing more of it comes for so long. */
const QUIET_MS = 100;

export function beginsRequest(piece: Buffer): boolean {
  const first = piece[0] as number;
  // Of a method that somebody uses.
  if (first < 0x41 || first > 0x5a) return false;
  return REQUEST_LINE.test(piece.toString('latin1', 0, MAX_LINE_BYTES));
}

export class Http1Exchanges {
  #asked = 0;
  #answered = 0;
  #answeredMs = -QUIET_MS;

  /** A piece of the copy goes. */
  asks(piece: Buffer): void {
    if (beginsRequest(piece)) this.#asked += 1;
  }

  answers(piece: Buffer, nowMs: number): void {
    if (ANSWER.test(piece.toString('latin1', 0, ANSWER_BYTES))) this.#answered += 1;
    this.#answeredMs = nowMs;
  }

  /** How long to wait before the connection may end; Infinity: for an answer. */
  dueMs(nowMs: number): number {
    if (this.#answered < this.#asked) return Infinity;
    return Math.max(0, this.#answeredMs + QUIET_MS - nowMs);
  }
}
