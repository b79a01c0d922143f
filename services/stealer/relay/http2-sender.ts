// What streams have for one receiver, sent within its windows and in turns.

import { Flag, FrameType, frame, INITIAL_WINDOW_BYTES, rstStream, SAFE_FRAME_BYTES } from '#runtime/http2/frame.ts';

/** A write is not made larger than this. */
const BATCH_BYTES = 64 * 1024;

/** What one read of a peer may make, while its receiver takes nothing: a header table makes much of a few bytes. */
const MAX_TURN_BYTES = 32 * 1024 * 1024;

/** Bytes for one write: small ones are joined, and what lies side by side in one chunk goes on uncopied. */
export class Batch {
  readonly #write: (bytes: Buffer) => void;
  #parts: Buffer[] = [];
  #bytes = 0;
  #turnBytes = 0;

  constructor(write: (bytes: Buffer) => void) {
    this.#write = write;
  }

  /** More than may be was added since the last turn's end. */
  get isFlooded(): boolean {
    return this.#turnBytes > MAX_TURN_BYTES;
  }

  add(bytes: Buffer): void {
    if (bytes.length === 0) return;
    const last = this.#parts.at(-1);
    if (last !== undefined && last.buffer === bytes.buffer && last.byteOffset + last.length === bytes.byteOffset) {
      this.#parts[this.#parts.length - 1] = Buffer.from(last.buffer, last.byteOffset, last.length + bytes.length);
    } else this.#parts.push(bytes);
    this.#bytes += bytes.length;
    this.#turnBytes += bytes.length;
    if (this.#bytes >= BATCH_BYTES) this.flush();
  }

  /** @param isWhole all that one read has brought was added */
  endTurn(isWhole: boolean): void {
    this.flush();
    if (isWhole) this.#turnBytes = 0;
  }

  flush(): void {
    if (this.#bytes === 0) return;
    const parts = this.#parts;
    this.#parts = [];
    this.#bytes = 0;
    this.#write(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts));
  }
}

type Item = Readonly<{ bytes: Buffer; isData: boolean; isEnd: boolean; isReset: boolean }>;

export type Sent = Readonly<{
  bytes: Buffer;
  dataBytes: number;
  /** Nothing of the stream comes in this direction after it. */
  isEnd: boolean;
  /** Nor in the other. */
  isReset: boolean;
}>;

/** One direction of one stream: what waits for its window. */
export class Outbox {
  readonly streamId: number;
  window: number;
  #items: Item[] = [];
  #waitingBytes = 0;
  #onCleared: (bytes: number) => void;

  /** @param onCleared data was thrown away */
  constructor(streamId: number, window: number, onCleared: (bytes: number) => void) {
    this.streamId = streamId;
    this.window = window;
    this.#onCleared = onCleared;
  }

  get isEmpty(): boolean {
    return this.#items.length === 0;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** @param bytes are copied */
  addData(bytes: Buffer, isEnd: boolean): void {
    if (bytes.length === 0 && !isEnd) return;
    this.#items.push({ bytes: Buffer.from(bytes), isData: true, isEnd, isReset: false });
    this.#waitingBytes += bytes.length;
  }

  /** Whole frames that no window holds back. */
  addFrames(bytes: Buffer, isEnd: boolean): void {
    this.#items.push({ bytes, isData: false, isEnd, isReset: false });
  }

  /** RST_STREAM behind all that waits. */
  addReset(code: number): void {
    this.#items.push({ bytes: rstStream(this.streamId, code), isData: false, isEnd: true, isReset: true });
  }

  clear(): void {
    const bytes = this.#waitingBytes;
    this.#items = [];
    this.#waitingBytes = 0;
    this.#onCleared(bytes);
  }

  /** @param room what the connection's window leaves. @returns undefined when nothing may be sent */
  take(room: number): Sent | undefined {
    const item = this.#items[0];
    if (item === undefined) return undefined;
    const { bytes, isData, isEnd, isReset } = item;
    if (!isData) {
      this.#items.shift();
      return { bytes, dataBytes: 0, isEnd, isReset };
    }
    const dataBytes = Math.min(bytes.length, this.window, room, SAFE_FRAME_BYTES);
    if (dataBytes <= 0 && bytes.length > 0) return undefined;
    const isWhole = dataBytes === bytes.length;
    if (isWhole) this.#items.shift();
    else this.#items[0] = { ...item, bytes: bytes.subarray(dataBytes) };
    this.window -= dataBytes;
    this.#waitingBytes -= dataBytes;
    const flags = isWhole && isEnd ? Flag.endStream : 0;
    const sent = frame(FrameType.data, flags, this.streamId, bytes.subarray(0, dataBytes));
    return { bytes: sent, dataBytes, isEnd: isWhole && isEnd, isReset };
  }
}

export type SenderOptions = Readonly<{
  maySend: () => boolean;
  write: (bytes: Buffer) => void;
  onSent: (outbox: Outbox, sent: Sent) => void;
}>;

export class Sender {
  /** Of the connection. */
  window = INITIAL_WINDOW_BYTES;
  readonly #options: SenderOptions;
  /** Those that may have something to send, the next one first. */
  readonly #ready = new Set<Outbox>();
  #isPumping = false;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  /** Nothing has anything to send. */
  get isIdle(): boolean {
    return this.#ready.size === 0;
  }

  /** Something was added to an outbox, or to its window. */
  add(outbox: Outbox): void {
    this.#ready.add(outbox);
    this.pump();
  }

  forget(outbox: Outbox): void {
    this.#ready.delete(outbox);
  }

  pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    const { maySend, write, onSent } = this.#options;
    const stalled: Outbox[] = [];
    for (const outbox of this.#ready) {
      if (!maySend()) break;
      this.#ready.delete(outbox);
      const sent = outbox.take(this.window);
      if (sent !== undefined) {
        this.window -= sent.dataBytes;
        write(sent.bytes);
        // Behind the others.
        if (!outbox.isEmpty) this.#ready.add(outbox);
        onSent(outbox, sent);
      } else if (!outbox.isEmpty && outbox.window > 0) stalled.push(outbox);
    }
    for (const outbox of stalled) this.#ready.add(outbox);
    this.#isPumping = false;
  }
}
