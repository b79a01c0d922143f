// One connection that arrived at the target, and its copy to a socket of the local process: bytes go in as they come,
// under credit, and what the local process answers is read and thrown away, or goes back when the connection is stolen. Ends
// follow the original.
//
// Memory: the connection's credit, which is given back as the local process's socket takes the bytes.

import net from 'node:net';
import type { InternetAddress } from '#proto/socket-address.ts';
import { formatIp } from '#proto/socket-address.ts';
import type { Answers } from './answers.ts';
import { Arrival, type ArrivalOptions } from './arrival.ts';
import { beginsHttp2 } from './http2-frames.ts';
import { Http2Upload } from './http2-upload.ts';
import type { Secure } from './tls-delivery.ts';
import type { Ends } from './unread-bytes.ts';

export interface CopyOptions extends ArrivalOptions {
  /** Of a stolen connection: where the answers go. */
  readonly answers: Answers | undefined;
  /** The bytes go in TLS. */
  readonly secure?: Secure | null;
  /** The service leaves out what belongs to a hop of HTTP/2: that is ours to speak. */
  readonly mayBeHttp2?: boolean;
  /** So many bytes more, or less, wait for the local process. */
  holds(bytes: number): void;
  /** Calls back when the local process has read everything: with false when it reads nothing more. */
  whenRead(ends: Ends, act: (isRead: boolean) => void): void;
}

/** How long the local process may take to end a connection whose original has ended, while it says nothing. */
export const LINGER_MS = 10_000;
/** Pieces below this are copied out of the batch they came in, which would be kept for them. */
const COPIED_BYTES = 16 * 1024;
/** Pieces, and bytes of each: a server says its SETTINGS and no more. */
const MAX_EARLY_ANSWERS = 4;
const MAX_EARLY_BYTES = 4 * 1024;

export class Copy extends Arrival<CopyOptions> {
  #socket: net.Socket | null = null;
  #ends: Ends | null = null;
  /** What `#socket` is, or lies over. */
  #raw: net.Socket | null = null;
  /** null: the bytes go as they come. */
  #upload: Http2Upload | null = null;
  #hasBegun = false;
  /** What the local process said before the first byte of the copy. */
  #earlyAnswers: Buffer[] = [];
  /** Came before the socket was connected. */
  #early: Buffer[] = [];
  #end: 'none' | 'half' | 'whole' | 'reset' = 'none';
  #linger: NodeJS.Timeout | undefined;
  #isResetting = false;
  #isConnected = false;
  #pendingBytes = 0;

  /** Once. `from` is bound here; `onRefused` says that nobody listened, that the address was taken, or that TLS failed. */
  connect(from: InternetAddress, to: InternetAddress, onRefused: (code: string) => void): void {
    if (this.isClosed) return;
    this.#ends = { from, to };
    const socket = net.connect({
      host: formatIp(to.ip),
      port: to.port,
      localAddress: formatIp(from.ip),
      localPort: from.port,
      allowHalfOpen: true,
      noDelay: true,
    });
    this.#raw = socket;
    const { secure = null } = this.options;
    this.#use(socket, secure === null ? 'connect' : null, onRefused);
    if (secure === null) return;
    socket.once('connect', () => {
      // The former handlers are of a socket that is no more ours than its bytes are.
      if (!this.isClosed) this.#use(secure(socket), 'secureConnect', onRefused);
    });
  }

  /** @param ready the event after which bytes may go; null: another socket takes the place of this one then */
  #use(socket: net.Socket, ready: 'connect' | 'secureConnect' | null, onRefused: (code: string) => void): void {
    this.#socket = socket;
    if (ready !== null) {
      socket.once(ready, () => {
        if (socket.destroyed) return;
        this.#isConnected = true;
        for (const piece of this.#early.splice(0)) this.#write(piece);
        this.#applyEnd();
      });
    }
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#socket !== socket) return;
      if (this.#isConnected) this.#failed();
      else {
        this.#socket = null;
        onRefused(error.code ?? 'EIO');
      }
    });
    if (ready === null) return;
    socket.on('close', () => {
      if (this.#socket === socket) this.close();
    });
    socket.on('timeout', () => socket.destroy());
    if (this.options.answers !== undefined) this.options.answers.from(socket);
    else socket.on('data', (answer) => this.#answered(answer));
  }

  protected take(data: Uint8Array): void {
    if (data.length === 0) return;
    const piece =
      data.length < COPIED_BYTES ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.length);
    if (!this.#hasBegun) this.#begin(piece);
    this.#pendingBytes += piece.length;
    this.options.holds(piece.length);
    if (this.#isConnected) this.#write(piece);
    else this.#early.push(piece);
  }

  halfClose(): void {
    if (this.#end === 'none') this.#end = 'half';
    this.#applyEnd();
  }

  /** A reset comes behind the last byte, as it does where the target has those already. */
  end(isReset = false): void {
    this.#end = isReset ? 'reset' : 'whole';
    this.#applyEnd();
  }

  /** Something is missing in the stream: what is behind it must not be joined to what was before. */
  cut(): void {
    if (this.isClosed) return;
    this.options.lost('incomplete', 0);
    this.options.reset();
    this.#abort();
  }

  protected get waitingBytes(): number {
    return this.#pendingBytes;
  }

  protected release(): void {
    const heldBack = this.#upload?.waitingBytes ?? 0;
    if (heldBack > 0) this.options.lost('closed early', heldBack);
    this.#early = [];
    clearTimeout(this.#linger);
    this.#socket?.destroy();
    this.options.holds(-this.#pendingBytes);
  }

  #begin(first: Buffer): void {
    this.#hasBegun = true;
    if (this.options.mayBeHttp2 === true && beginsHttp2(first)) {
      this.#upload = new Http2Upload({
        copied: (bytes) => this.#socket?.write(bytes, (error) => error ?? this.#taken(bytes.length)),
        dropped: (bytes) => this.#taken(bytes),
        own: (bytes) => {
          if (this.#socket?.writable === true) this.#socket.write(bytes);
        },
        over: () => this.#failed(),
      });
      for (const answer of this.#earlyAnswers) this.#upload.answer(answer);
    }
    this.#earlyAnswers = [];
  }

  /** Read, so that the local process is not held up by it, and thrown away. */
  #answered(answer: Buffer): void {
    if (this.#upload !== null) {
      this.#upload.answer(answer);
      this.#applyEnd();
    } else if (!this.#hasBegun && this.options.mayBeHttp2 === true) {
      const isFew = this.#earlyAnswers.length < MAX_EARLY_ANSWERS && answer.length <= MAX_EARLY_BYTES;
      if (isFew) this.#earlyAnswers.push(answer);
    }
  }

  #write(piece: Buffer): void {
    if (this.#upload !== null) this.#upload.push(piece);
    else this.#socket?.write(piece, (error) => error ?? this.#taken(piece.length));
  }

  /** By the local process's socket. */
  #taken(bytes: number): void {
    if (this.isClosed) return;
    this.#pendingBytes -= bytes;
    this.options.holds(-bytes);
    this.options.delivered(bytes);
    this.consumed(bytes, this.#end === 'none' || this.#end === 'half');
    if (this.#end === 'reset') this.#applyEnd();
  }

  #applyEnd(): void {
    const socket = this.#socket;
    if (socket === null || !this.#isConnected || this.isClosed || this.#end === 'none') return;
    if (this.#end === 'whole' || this.#end === 'reset') socket.setTimeout(LINGER_MS);
    if (this.#end === 'reset') {
      if (this.#pendingBytes === 0) this.#reset(socket);
      return;
    }
    // What the local process's windows hold back comes first, and its answers: the target has given its own.
    if (this.#upload?.isDone ?? true) socket.end();
    else if (this.#end === 'whole') this.#linger ??= setTimeout(() => this.close(), LINGER_MS).unref();
  }

  #reset(socket: net.Socket): void {
    if (this.#isResetting) return;
    this.#isResetting = true;
    // What the kernel has it delivers, also behind a socket that is closed, but not behind a reset.
    this.options.whenRead(this.#ends as Ends, (isRead) => {
      if (isRead) socket.resetAndDestroy();
      else socket.destroy();
    });
  }

  /** The local process closed or reset it, or will not take more. */
  #failed(): void {
    if (this.isClosed) return;
    if (this.#end === 'none' || this.#pendingBytes > 0) this.options.lost('closed early', this.#pendingBytes);
    if (this.#end === 'none' || this.#end === 'half') this.options.reset();
    this.close();
  }

  #abort(): void {
    this.#raw?.resetAndDestroy();
    this.close();
  }
}
