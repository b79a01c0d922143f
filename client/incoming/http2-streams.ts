// A copy of HTTP/2, taken apart into its streams, each of which goes to the local process on a connection that takes it: the newest
// one at first, and another when that says goodbye (GOAWAY) before it has looked at the stream. Pure: bytes in, bytes out.
//
// Buffers: what the local process holds back, within the connection's credit; of what has gone, 256 KiB that is not answered yet.

import { CONTINUATION, END_HEADERS, GOAWAY, HEAD_BYTES, HEADERS, PREFACE, RST_STREAM } from './http2-frames.ts';
import { UploadStream } from './http2-stream.ts';
import { Http2Upload, type UploadWriter } from './http2-upload.ts';

const MAX_KEPT_BYTES = 256 * 1024;
/** The preface, SETTINGS and a WINDOW_UPDATE: a service says no more. */
const MAX_OPENING = 8;
/** Connections in a row that the local process closed without an answer. */
const MAX_FRUITLESS = 3;

export interface StreamsOptions {
  /** Of the copy, bytes that will not go: their stream is given up by an end of it. */
  dropped(bytes: number): void;
  /** Of the copy, bytes that cannot go. */
  lost(bytes: number): void;
  /** Another connection is wanted: `attach` brings it. */
  connect(): void;
  /** So many bytes more, or less, are kept of what has gone. */
  keeps(bytes: number): void;
}

export class Http2Streams {
  readonly #options: StreamsOptions;
  /** Not a whole frame yet. */
  #unread: Buffer = Buffer.alloc(0);
  #waitingBytes = 0;
  readonly #opening: Buffer[] = [];
  /** Of the opening, what has gone on some connection. */
  #openingGone = 0;
  /** Of a block whose end has not come. */
  #block: Buffer[] = [];
  #goodbye: Buffer | null = null;
  #lastStreamId = 0;
  readonly #streams = new Map<number, UploadStream>();
  /** For the next connection. */
  readonly #homeless = new Map<number, UploadStream>();
  #newest: Http2Upload | null = null;
  #isConnecting = true;
  #fruitless = 0;
  #keptBytes = 0;

  /** The first connection is on its way. */
  constructor(options: StreamsOptions) {
    this.#options = options;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Everything has gone, and whatever was asked for in full is answered. */
  get isDone(): boolean {
    if (this.#waitingBytes > 0 || this.#homeless.size > 0) return false;
    for (const { hasOurEnd } of this.#streams.values()) if (hasOurEnd) return false;
    return true;
  }

  push(bytes: Buffer): void {
    this.#waitingBytes += bytes.length;
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    while (this.#read());
    this.#sayGoodbye();
  }

  /** A connection to the local process that bytes may go to. */
  attach(out: UploadWriter): Http2Upload {
    const upload: Http2Upload = new Http2Upload(
      {
        copied: (bytes) => {
          this.#waitingBytes -= bytes.length;
          out.copied(bytes);
        },
        own: out.own,
      },
      {
        dropped: (bytes) => this.#drop(bytes),
        over: (stream) => {
          stream.clear();
          this.#streams.delete(stream.id);
        },
        refused: (streams) => this.#refused(upload, streams),
      },
    );
    this.#newest = upload;
    this.#isConnecting = false;
    for (const [nth, bytes] of this.#opening.entries()) upload.open(bytes, nth >= this.#openingGone);
    this.#openingGone = this.#opening.length;
    const inOrder = [...this.#homeless.values()].sort((one, other) => one.id - other.id);
    this.#homeless.clear();
    for (const stream of inOrder) upload.add(stream);
    this.#sayGoodbye();
    return upload;
  }

  /** What the local process has written on a connection. */
  answer(upload: Http2Upload, bytes: Buffer): void {
    upload.answer(bytes);
    this.#sayGoodbye();
  }

  /** It will write nothing more. @returns of how many of its streams a part has not gone, and how much */
  ended(upload: Http2Upload): { streams: number; bytes: number } {
    const left = upload.end();
    this.#waitingBytes -= left.bytes;
    return left;
  }

  /** No connection comes: streams that wait for one are given up. @returns what waits of them */
  forsake(): number {
    let bytes = 0;
    for (const stream of this.#homeless.values()) {
      bytes += stream.waitingBytes;
      stream.clear();
      this.#streams.delete(stream.id);
    }
    this.#homeless.clear();
    this.#waitingBytes -= bytes;
    return bytes;
  }

  /** The next whole frame. */
  #read(): boolean {
    if (this.#opening.length === 0) {
      if (this.#unread.length < PREFACE.length) return false;
      this.#open(this.#cut(PREFACE.length));
      return true;
    }
    if (this.#unread.length < HEAD_BYTES) return false;
    const length = HEAD_BYTES + this.#unread.readUIntBE(0, 3);
    if (this.#unread.length < length) return false;
    this.#take(this.#cut(length));
    return true;
  }

  #cut(count: number): Buffer {
    const bytes = this.#unread.subarray(0, count);
    this.#unread = this.#unread.subarray(count);
    return bytes;
  }

  #take(bytes: Buffer): void {
    const type = bytes[3];
    const flags = bytes[4] as number;
    const streamId = bytes.readUInt32BE(5) & 0x7fff_ffff;
    if (type === GOAWAY) {
      this.#goodbye = this.#goodbye === null ? bytes : Buffer.concat([this.#goodbye, bytes]);
    } else if (streamId === 0) this.#open(bytes);
    else if (type === HEADERS || type === CONTINUATION) {
      this.#block.push(bytes);
      if ((flags & END_HEADERS) !== 0) this.#add(streamId, Buffer.concat(this.#block.splice(0)));
    } else if (type === RST_STREAM) this.#cancel(streamId, bytes);
    else this.#add(streamId, bytes);
  }

  #open(bytes: Buffer): void {
    if (this.#opening.length === MAX_OPENING) {
      this.#drop(bytes.length);
      return;
    }
    this.#opening.push(Buffer.from(bytes));
    if (this.#newest === null) return;
    this.#openingGone = this.#opening.length;
    this.#newest.open(bytes, true);
  }

  #add(streamId: number, bytes: Buffer): void {
    let stream = this.#streams.get(streamId);
    if (stream !== undefined) {
      stream.push(bytes);
      stream.upload?.more(stream);
      return;
    }
    // Of one that the local process has given up, or that is over.
    if (bytes[3] !== HEADERS || streamId <= this.#lastStreamId) {
      this.#drop(bytes.length);
      return;
    }
    this.#lastStreamId = streamId;
    stream = new UploadStream(streamId, (kept) => this.#keep(kept));
    stream.push(bytes);
    this.#streams.set(streamId, stream);
    if (this.#newest === null || this.#newest.isRefusing) {
      this.#homeless.set(streamId, stream);
      this.#connect();
    } else this.#newest.add(stream);
  }

  /** By the client of the original. */
  #cancel(streamId: number, bytes: Buffer): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#drop(bytes.length);
    } else if (stream.upload !== null) stream.upload.cancel(stream, bytes);
    else {
      this.#drop(stream.waitingBytes + bytes.length);
      stream.clear();
      this.#streams.delete(streamId);
      this.#homeless.delete(streamId);
    }
  }

  #refused(upload: Http2Upload, streams: readonly UploadStream[]): void {
    for (const stream of streams) this.#homeless.set(stream.id, stream);
    if (upload === this.#newest) this.#fruitless = upload.hasAnswered ? 0 : this.#fruitless + 1;
    if (this.#fruitless < MAX_FRUITLESS) this.#connect();
    else this.#options.lost(this.forsake());
  }

  #connect(): void {
    if (this.#isConnecting) return;
    this.#isConnecting = true;
    this.#newest = null;
    this.#options.connect();
  }

  #keep(bytes: number): boolean {
    if (this.#keptBytes + bytes > MAX_KEPT_BYTES) return false;
    this.#keptBytes += bytes;
    this.#options.keeps(bytes);
    return true;
  }

  /** Behind everything else. */
  #sayGoodbye(): void {
    const bytes = this.#goodbye;
    if (bytes === null || this.#newest === null || this.#waitingBytes > bytes.length) return;
    this.#goodbye = null;
    this.#newest.say(bytes);
  }

  #drop(bytes: number): void {
    this.#waitingBytes -= bytes;
    this.#options.dropped(bytes);
  }
}
