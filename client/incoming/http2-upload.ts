// The client's side of HTTP/2 towards the local process, for a copy that holds streams of a connection: its frames go out as
// far as the local process's windows and its number of streams reach, each stream's for itself, and what a client owes its server
// is said: acknowledgements of its SETTINGS and PINGs, and the connection's window for its answers, which are not read. Pure:
// bytes in, bytes out.
//
// Buffers: what the local process holds back, within the connection's credit; one frame of an answer that is read.

import { AnswerFrames } from './http2-answers.ts';
import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GOAWAY,
  HEAD_BYTES,
  HEADERS,
  INITIAL_WINDOW_SIZE,
  MAX_CONCURRENT_STREAMS,
  numberFrame,
  PING,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './http2-frames.ts';

const INITIAL_WINDOW_BYTES = 65_535;
/** The window for answers is given back in steps of this. */
const STEP_BYTES = 1024 * 1024;
const MAX_EARLY = 16;
/** Until the local process says how many it takes, which is the first thing it says: more it may refuse. */
const FIRST_STREAMS = 1;

export interface UploadWriter {
  /** The next bytes of the copy; nothing of it is held back longer. */
  copied(bytes: Buffer): void;
  /** So many bytes of the copy will not go: their stream is given up. */
  dropped(bytes: number): void;
  /** Ours, between two frames. */
  own(bytes: Buffer): void;
  /** The local process takes no more streams: the next one belongs on another connection. */
  over(): void;
}

interface Stream {
  readonly id: number;
  /** Whole frames that wait; a block of headers is one. */
  readonly frames: Buffer[];
  hasBegun: boolean;
  /** What is left of its window, less the initial one. */
  window: number;
  hasOurEnd: boolean;
  hasTheirEnd: boolean;
}

export class Http2Upload {
  readonly #out: UploadWriter;
  /** Not a whole frame yet. */
  #unread: Buffer = Buffer.alloc(0);
  #waitingBytes = 0;
  #hasOpened = false;
  /** Of a block whose end has not come. */
  #block: Buffer[] = [];
  #goodbye: Buffer | null = null;
  #window = INITIAL_WINDOW_BYTES;
  #initialWindow = INITIAL_WINDOW_BYTES;
  #mostStreams = FIRST_STREAMS;
  #hasSettings = false;
  #isRefusing = false;
  #lastStreamId = 0;
  #begun = 0;
  readonly #streams = new Map<number, Stream>();
  /** In their order, which is that of their numbers. */
  readonly #unbegun = new Set<Stream>();
  /** For a window. */
  readonly #held = new Set<Stream>();
  readonly #answers: AnswerFrames;
  #owedBytes = 0;
  /** Ours, until the preface and the first SETTINGS have gone. */
  #early: Buffer[] | null = [];

  constructor(out: UploadWriter) {
    this.#out = out;
    this.#answers = new AnswerFrames(
      (type, flags, streamId, payload) => this.#answered(type, flags, streamId, payload),
      (streamId) => this.#ended(streamId, false),
    );
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Everything has gone, and is answered. */
  get isDone(): boolean {
    return this.#waitingBytes === 0 && this.#streams.size === 0;
  }

  push(bytes: Buffer): void {
    this.#waitingBytes += bytes.length;
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
    while (this.#read());
    this.#beginNext();
    this.#sayGoodbye();
  }

  /** What the local process has written. */
  answer(bytes: Buffer): void {
    this.#answers.push(bytes);
    this.#owedBytes += this.#answers.takeDataBytes();
    if (this.#owedBytes >= STEP_BYTES) {
      this.#own(numberFrame(WINDOW_UPDATE, this.#owedBytes));
      this.#owedBytes = 0;
    }
    for (const stream of [...this.#held]) this.#send(stream);
    this.#beginNext();
    this.#sayGoodbye();
  }

  /** The next whole frame. */
  #read(): boolean {
    if (!this.#hasOpened) {
      if (this.#unread.length < PREFACE.length) return false;
      this.#hasOpened = true;
      this.#copied(this.#cut(PREFACE.length));
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
    } else if (streamId === 0) {
      this.#copied(bytes);
      for (const own of this.#early ?? []) this.#out.own(own);
      this.#early = null;
    } else if (type === HEADERS || type === CONTINUATION) {
      this.#block.push(bytes);
      if ((flags & END_HEADERS) !== 0) this.#add(streamId, Buffer.concat(this.#block.splice(0)));
    } else if (type === RST_STREAM) this.#cancel(streamId, bytes);
    else this.#add(streamId, bytes);
  }

  #add(streamId: number, bytes: Buffer): void {
    let stream = this.#streams.get(streamId);
    if (stream === undefined) {
      // Of one that the local process has given up, or that is over.
      if (bytes[3] !== HEADERS || streamId <= this.#lastStreamId) {
        this.#drop(bytes.length);
        return;
      }
      this.#lastStreamId = streamId;
      stream = { id: streamId, frames: [], hasBegun: false, window: 0, hasOurEnd: false, hasTheirEnd: false };
      this.#streams.set(streamId, stream);
      this.#unbegun.add(stream);
    }
    stream.frames.push(bytes);
    if (stream.hasBegun) this.#send(stream);
    else this.#beginNext();
  }

  #beginNext(): void {
    for (const stream of this.#unbegun) {
      if (this.#isRefusing) {
        this.#out.over();
        return;
      }
      if (this.#begun >= this.#mostStreams) return;
      this.#unbegun.delete(stream);
      stream.hasBegun = true;
      this.#begun += 1;
      this.#send(stream);
    }
  }

  #send(stream: Stream): void {
    this.#held.delete(stream);
    for (let next = stream.frames[0]; next !== undefined; next = stream.frames[0]) {
      const isData = next[3] === DATA;
      if (isData && !this.#spend(stream, next.length - HEAD_BYTES)) {
        this.#held.add(stream);
        return;
      }
      stream.frames.shift();
      this.#copied(next);
      if ((isData || next[3] === HEADERS) && ((next[4] as number) & END_STREAM) !== 0) this.#ended(stream.id, true);
    }
  }

  #spend(stream: Stream, length: number): boolean {
    if (length > 0 && (length > this.#initialWindow + stream.window || length > this.#window)) return false;
    this.#window -= length;
    stream.window -= length;
    return true;
  }

  /** By the client of the original. */
  #cancel(streamId: number, bytes: Buffer): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#drop(bytes.length);
      return;
    }
    const { hasBegun } = stream;
    this.#giveUp(stream);
    if (hasBegun) this.#copied(bytes);
    else this.#drop(bytes.length);
    this.#beginNext();
  }

  #giveUp(stream: Stream): void {
    for (const { length } of stream.frames.splice(0)) this.#drop(length);
    this.#remove(stream);
  }

  #ended(streamId: number, isOurs: boolean): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (isOurs) stream.hasOurEnd = true;
    else stream.hasTheirEnd = true;
    if (stream.hasOurEnd && stream.hasTheirEnd) this.#remove(stream);
  }

  #remove(stream: Stream): void {
    this.#streams.delete(stream.id);
    this.#held.delete(stream);
    if (!this.#unbegun.delete(stream)) this.#begun -= 1;
  }

  /** Behind everything else. */
  #sayGoodbye(): void {
    if (this.#goodbye === null || this.#waitingBytes > this.#goodbye.length) return;
    const bytes = this.#goodbye;
    this.#goodbye = null;
    this.#copied(bytes);
  }

  #copied(bytes: Buffer): void {
    this.#waitingBytes -= bytes.length;
    this.#out.copied(bytes);
  }

  #drop(bytes: number): void {
    this.#waitingBytes -= bytes;
    this.#out.dropped(bytes);
  }

  #own(bytes: Buffer): void {
    if (this.#early === null) this.#out.own(bytes);
    else if (this.#early.length < MAX_EARLY) this.#early.push(bytes);
  }

  #answered(type: number, flags: number, streamId: number, payload: Buffer): void {
    switch (type) {
      case SETTINGS:
        if ((flags & ACK) === 0) this.#set(payload);
        return;
      case PING:
        if ((flags & ACK) === 0) this.#own(frame(PING, ACK, payload));
        return;
      case WINDOW_UPDATE: {
        const bytes = payload.readUInt32BE(0) & 0x7fff_ffff;
        const stream = this.#streams.get(streamId);
        if (streamId === 0) this.#window += bytes;
        else if (stream !== undefined) stream.window += bytes;
        return;
      }
      case GOAWAY:
        this.#isRefusing = true;
        return;
      case RST_STREAM: {
        const stream = this.#streams.get(streamId);
        if (stream !== undefined) this.#giveUp(stream);
      }
    }
  }

  #set(payload: Buffer): void {
    // Without a word about it there is no limit.
    if (!this.#hasSettings) this.#mostStreams = Infinity;
    this.#hasSettings = true;
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2);
      switch (payload.readUInt16BE(at)) {
        case INITIAL_WINDOW_SIZE:
          this.#initialWindow = value;
          break;
        case MAX_CONCURRENT_STREAMS:
          this.#mostStreams = value;
      }
    }
    this.#own(frame(SETTINGS, ACK, Buffer.alloc(0)));
  }
}
