// The client's side of one HTTP/2 connection to the local process, for streams of a copy: their frames go out as far as the local
// process's windows and its number of streams reach, each stream's for itself, and what a client owes its server is said:
// acknowledgements of its SETTINGS and PINGs, and the connection's window for its answers, which are not read. Pure: bytes in,
// bytes out.
//
// Buffers: what waits in the streams (http2-streams.ts); one frame of an answer that is read.

import { AnswerFrames } from './http2-answers.ts';
import {
  ACK,
  DATA,
  END_STREAM,
  frame,
  GOAWAY,
  HEAD_BYTES,
  HEADERS,
  INITIAL_WINDOW_SIZE,
  MAX_CONCURRENT_STREAMS,
  numberFrame,
  PING,
  REFUSED_STREAM,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './http2-frames.ts';
import type { UploadStream } from './http2-stream.ts';

const INITIAL_WINDOW_BYTES = 65_535;
/** The window for answers is given back in steps of this. */
const STEP_BYTES = 1024 * 1024;
const MAX_EARLY = 16;
/** Until the local process says how many it takes, which is the first thing it says: more it may refuse. */
const FIRST_STREAMS = 1;

export interface UploadWriter {
  /** The next bytes of the copy; nothing of it is held back longer. */
  copied(bytes: Buffer): void;
  /** Ours, between two frames, or what has been copied before on another connection. */
  own(bytes: Buffer): void;
}

export interface UploadStreams {
  /** So many bytes of the copy will not go: their stream is given up. */
  dropped(bytes: number): void;
  /** It is over on both sides, or one of them has given it up. */
  over(stream: UploadStream): void;
  /** The local process has not looked at these, and will not: they belong on another connection. */
  refused(streams: readonly UploadStream[]): void;
}

export class Http2Upload {
  readonly #out: UploadWriter;
  readonly #all: UploadStreams;
  #window = INITIAL_WINDOW_BYTES;
  #initialWindow = INITIAL_WINDOW_BYTES;
  #mostStreams = FIRST_STREAMS;
  #hasSettings = false;
  #isRefusing = false;
  #hasAnswered = false;
  readonly #begun = new Map<number, UploadStream>();
  /** In their order, which is that of their numbers. */
  readonly #unbegun = new Set<UploadStream>();
  /** For a window. */
  readonly #held = new Set<UploadStream>();
  readonly #answers: AnswerFrames;
  #owedBytes = 0;
  /** Ours, until the preface and the first SETTINGS have gone. */
  #early: Buffer[] | null = [];

  constructor(out: UploadWriter, all: UploadStreams) {
    this.#out = out;
    this.#all = all;
    this.#answers = new AnswerFrames({
      frame: (type, flags, streamId, payload) => this.#answered(type, flags, streamId, payload),
      streamBegins: (streamId) => {
        this.#hasAnswered = true;
        this.#begun.get(streamId)?.forget();
      },
      streamEnds: (streamId) => this.#ended(streamId, false),
    });
  }

  /** It takes no more streams: the next one belongs on another connection. */
  get isRefusing(): boolean {
    return this.#isRefusing;
  }

  /** Of what it was asked, something. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Streams that are not over. */
  get streams(): number {
    return this.#begun.size + this.#unbegun.size;
  }

  /** The preface, then frames of the connection. */
  open(bytes: Buffer, isCopied: boolean): void {
    if (isCopied) this.#out.copied(bytes);
    else this.#out.own(bytes);
    if (bytes[3] !== SETTINGS) return;
    for (const own of this.#early ?? []) this.#out.own(own);
    this.#early = null;
  }

  add(stream: UploadStream): void {
    stream.upload = this;
    stream.window = 0;
    this.#unbegun.add(stream);
    this.#beginNext();
  }

  /** It has more frames. */
  more(stream: UploadStream): void {
    if (this.#begun.has(stream.id)) this.#send(stream);
  }

  /** By the client of the original. */
  cancel(stream: UploadStream, bytes: Buffer): void {
    const hasBegun = this.#begun.has(stream.id);
    this.#giveUp(stream);
    if (hasBegun) this.#out.copied(bytes);
    else this.#all.dropped(bytes.length);
    this.#beginNext();
  }

  /** Behind everything else. */
  say(goodbye: Buffer): void {
    this.#out.copied(goodbye);
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
  }

  /** It will say nothing more. What it may have looked at is given up; @returns of how many a part has not gone, and how much. */
  end(): { streams: number; bytes: number } {
    this.#refuse(Infinity);
    let [streams, bytes] = [0, 0];
    for (const stream of [...this.#begun.values()]) {
      if (!stream.hasOurEnd) streams += 1;
      bytes += stream.waitingBytes;
      this.#remove(stream);
    }
    return { streams, bytes };
  }

  #beginNext(): void {
    for (const stream of this.#unbegun) {
      if (this.#isRefusing || this.#begun.size >= this.#mostStreams) return;
      this.#unbegun.delete(stream);
      this.#begun.set(stream.id, stream);
      this.#send(stream);
    }
  }

  #send(stream: UploadStream): void {
    this.#held.delete(stream);
    for (let next = stream.next; next !== undefined; next = stream.next) {
      const isData = next[3] === DATA;
      if (isData && !this.#spend(stream, next.length - HEAD_BYTES)) {
        this.#held.add(stream);
        return;
      }
      if (stream.take()) this.#out.copied(next);
      else this.#out.own(next);
      if ((isData || next[3] === HEADERS) && ((next[4] as number) & END_STREAM) !== 0) this.#ended(stream.id, true);
    }
  }

  #spend(stream: UploadStream, length: number): boolean {
    if (length > 0 && (length > this.#initialWindow + stream.window || length > this.#window)) return false;
    this.#window -= length;
    stream.window -= length;
    return true;
  }

  #giveUp(stream: UploadStream): void {
    const bytes = stream.waitingBytes;
    this.#remove(stream);
    if (bytes > 0) this.#all.dropped(bytes);
  }

  #ended(streamId: number, isOurs: boolean): void {
    const stream = this.#begun.get(streamId);
    if (stream === undefined) return;
    if (isOurs) stream.hasOurEnd = true;
    else stream.hasTheirEnd = true;
    if (stream.hasOurEnd && stream.hasTheirEnd) this.#remove(stream);
  }

  #remove(stream: UploadStream): void {
    this.#begun.delete(stream.id);
    this.#held.delete(stream);
    this.#unbegun.delete(stream);
    this.#all.over(stream);
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
        const stream = this.#begun.get(streamId);
        if (streamId === 0) this.#window += bytes;
        else if (stream !== undefined) stream.window += bytes;
        return;
      }
      case GOAWAY:
        this.#refuse(payload.readUInt32BE(0) & 0x7fff_ffff);
        return;
      case RST_STREAM: {
        const stream = this.#begun.get(streamId);
        if (stream === undefined) return;
        const isRefused = payload.readUInt32BE(0) === REFUSED_STREAM;
        if (isRefused && stream.canBeRepeated && !stream.wasRefused) {
          stream.wasRefused = true;
          this.#handOver([stream]);
        } else this.#giveUp(stream);
      }
    }
  }

  /** What came after this stream it has not looked at (RFC 9113 section 6.8). */
  #refuse(lastStreamId: number): void {
    this.#isRefusing = true;
    const behind = [...this.#begun.values()].filter(({ id }) => id > lastStreamId);
    const refused = [...behind.filter(({ canBeRepeated }) => canBeRepeated), ...this.#unbegun];
    for (const stream of behind) if (!stream.canBeRepeated) this.#giveUp(stream);
    if (refused.length > 0) this.#handOver(refused);
  }

  #handOver(streams: readonly UploadStream[]): void {
    for (const stream of streams) {
      this.#begun.delete(stream.id);
      this.#held.delete(stream);
      this.#unbegun.delete(stream);
      stream.rewind();
    }
    this.#all.refused(streams);
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
