// The client's side of HTTP/2 towards the local process, for a copy that holds some streams of a connection: the frames of the
// copy go out as far as the local process's windows reach, and what a client owes its server is said: acknowledgements of its
// SETTINGS and PINGs, and the connection's window for its answers, which are not read. Pure: bytes in, bytes out.
//
// Buffers: what the windows hold back, within the connection's credit; one frame of an answer that is read.

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const HEAD_BYTES = 9;
const INITIAL_WINDOW_BYTES = 65_535;
/** Frames of an answer that are read are small; a larger one is no HTTP/2 that this side has asked for. */
const MAX_READ_BYTES = 16_384;
/** The window for answers is given back in steps of this. */
const STEP_BYTES = 1024 * 1024;

const MAX_EARLY = 16;

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const WINDOW_UPDATE = 8;
const ACK = 1;
const END_STREAM = 1;
const INITIAL_WINDOW_SIZE = 4;

export interface UploadWriter {
  /** The next bytes of the copy; nothing of it is held back longer. */
  copied(bytes: Buffer): void;
  /** So many bytes of the copy will not go: the local process has given up their stream. */
  dropped(bytes: number): void;
  /** Ours, between two frames. */
  own(bytes: Buffer): void;
}

/** Whether a copy is HTTP/2, by what it begins with. */
export const beginsHttp2 = (bytes: Uint8Array): boolean => PREFACE.equals(bytes.subarray(0, PREFACE.length));

export class Http2Upload {
  readonly #out: UploadWriter;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #hasOpened = false;
  #window = INITIAL_WINDOW_BYTES;
  #initialWindow = INITIAL_WINDOW_BYTES;
  /** What is left of each stream's window, less the initial one. */
  readonly #streams = new Map<number, number>();
  /** Given up by the local process: what comes of them is dropped. */
  readonly #refused = new Set<number>();
  readonly #answers: AnswerFrames;
  #owedBytes = 0;
  /** Ours, until the preface and the first SETTINGS have gone. */
  #early: Buffer[] | null = [];

  constructor(out: UploadWriter) {
    this.#out = out;
    this.#answers = new AnswerFrames((type, flags, streamId, payload) =>
      this.#answered(type, flags, streamId, payload),
    );
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  push(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#pump();
  }

  /** What the local process has written. */
  answer(bytes: Buffer): void {
    this.#answers.push(bytes);
    this.#owedBytes += this.#answers.takeDataBytes();
    if (this.#owedBytes >= STEP_BYTES) {
      this.#own(numberFrame(WINDOW_UPDATE, this.#owedBytes));
      this.#owedBytes = 0;
    }
    this.#pump();
  }

  #pump(): void {
    while (this.#step());
  }

  /** The next whole frame, if it may go. */
  #step(): boolean {
    if (!this.#hasOpened) {
      if (this.#waitingBytes < PREFACE.length) return false;
      this.#hasOpened = true;
      this.#out.copied(this.#take(PREFACE.length));
      return true;
    }
    const head = this.#peek(HEAD_BYTES);
    if (head === null) return false;
    const [type, flags] = [head[3], head[4] as number];
    const length = head.readUIntBE(0, 3);
    const streamId = head.readUInt32BE(5) & 0x7fff_ffff;
    if (this.#waitingBytes < HEAD_BYTES + length) return false;
    if (type === DATA && !this.#spend(streamId, length)) return false;
    if (type === HEADERS && !this.#streams.has(streamId)) this.#streams.set(streamId, 0);
    const bytes = this.#take(HEAD_BYTES + length);
    if (this.#refused.has(streamId)) this.#out.dropped(bytes.length);
    else this.#out.copied(bytes);
    for (const own of this.#early ?? []) this.#out.own(own);
    this.#early = null;
    const isEnd = type === RST_STREAM || ((type === DATA || type === HEADERS) && (flags & END_STREAM) !== 0);
    if (isEnd) {
      this.#streams.delete(streamId);
      this.#refused.delete(streamId);
    }
    return true;
  }

  #own(bytes: Buffer): void {
    if (this.#early === null) this.#out.own(bytes);
    else if (this.#early.length < MAX_EARLY) this.#early.push(bytes);
  }

  #spend(streamId: number, length: number): boolean {
    if (this.#refused.has(streamId)) return true;
    const left = this.#initialWindow + (this.#streams.get(streamId) ?? 0);
    if (length > 0 && (length > left || length > this.#window)) return false;
    this.#window -= length;
    this.#streams.set(streamId, left - length - this.#initialWindow);
    return true;
  }

  #peek(count: number): Buffer | null {
    if (this.#waitingBytes < count) return null;
    const [first] = this.#waiting;
    if (first !== undefined && first.length >= count) return first;
    this.#waiting = [Buffer.concat(this.#waiting)];
    return this.#waiting[0] as Buffer;
  }

  /** No more than waits. */
  #take(count: number): Buffer {
    const first = this.#peek(count) as Buffer;
    if (first.length === count) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(count);
    this.#waitingBytes -= count;
    return first.subarray(0, count);
  }

  #answered(type: number, flags: number, streamId: number, payload: Buffer): void {
    switch (type) {
      case SETTINGS:
        if ((flags & ACK) !== 0) return;
        for (let at = 0; at + 6 <= payload.length; at += 6) {
          if (payload.readUInt16BE(at) === INITIAL_WINDOW_SIZE) this.#initialWindow = payload.readUInt32BE(at + 2);
        }
        this.#own(frame(SETTINGS, ACK, Buffer.alloc(0)));
        return;
      case PING:
        if ((flags & ACK) === 0) this.#own(frame(PING, ACK, payload));
        return;
      case WINDOW_UPDATE: {
        const bytes = payload.readUInt32BE(0) & 0x7fff_ffff;
        if (streamId === 0) this.#window += bytes;
        else {
          const left = this.#streams.get(streamId);
          if (left !== undefined) this.#streams.set(streamId, left + bytes);
        }
        return;
      }
      case RST_STREAM:
        if (this.#streams.delete(streamId)) this.#refused.add(streamId);
    }
  }
}

/** Frames out of what the local process writes; of DATA the sum alone. */
class AnswerFrames {
  readonly #onFrame: (type: number, flags: number, streamId: number, payload: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);
  /** Of a frame that is passed over. */
  #skip = 0;
  #dataBytes = 0;
  #isBroken = false;

  constructor(onFrame: (type: number, flags: number, streamId: number, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  takeDataBytes(): number {
    const bytes = this.#dataBytes;
    this.#dataBytes = 0;
    return bytes;
  }

  push(chunk: Buffer): void {
    if (this.#isBroken) return;
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const skipped = Math.min(this.#skip, bytes.length);
      this.#skip -= skipped;
      bytes = bytes.subarray(skipped);
      if (bytes.length < HEAD_BYTES) break;
      const length = bytes.readUIntBE(0, 3);
      const type = bytes[3] as number;
      const isRead = type === SETTINGS || type === PING || type === WINDOW_UPDATE || type === RST_STREAM;
      if (type === DATA) this.#dataBytes += length;
      if (!isRead) {
        this.#skip = HEAD_BYTES + length;
        continue;
      }
      if (length > MAX_READ_BYTES || (length < 4 && type !== SETTINGS)) {
        this.#isBroken = true;
        break;
      }
      if (bytes.length < HEAD_BYTES + length) break;
      const payload = bytes.subarray(HEAD_BYTES, HEAD_BYTES + length);
      this.#onFrame(type, bytes[4] as number, bytes.readUInt32BE(5) & 0x7fff_ffff, payload);
      this.#skip = HEAD_BYTES + length;
    }
    this.#rest = this.#isBroken ? Buffer.alloc(0) : Buffer.from(bytes);
  }
}

function frame(type: number, flags: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

/** Of the connection. */
function numberFrame(type: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, 0, payload);
}
