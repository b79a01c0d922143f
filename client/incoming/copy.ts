// One connection that arrived at the target, and its copy to a socket of the local process: bytes go in as they come,
// under credit, and what the local process answers is read and thrown away, or goes back when the connection is stolen. Ends
// follow the original.
//
// Memory: the connection's credit, which is given back as the local process's socket takes the bytes.

import net from 'node:net';
import { ReceiveCredit } from '#proto/credits.ts';
import type { InternetAddress } from '#proto/socket-address.ts';
import { formatIp } from '#proto/socket-address.ts';
import type { Answers } from './answers.ts';
import { beginsHttp2, Http2Upload } from './http2-upload.ts';
import type { LocalLoss } from './tally.ts';

export interface CopyOptions {
  readonly connectionBytes: number;
  /** Of a stolen connection: where the answers go. */
  readonly answers: Answers | undefined;
  /** The copy may be HTTP/2 of which the service has made a selection: what belongs to a hop is ours to speak. */
  readonly isSelection?: boolean;
  /** To the service: so many bytes more may come. */
  grant(bytes: number): void;
  /** To the service: nothing more is wanted. */
  reset(): void;
  delivered(bytes: number): void;
  lost(why: LocalLoss, bytes: number): void;
  /** So many bytes more, or less, wait for the local process. */
  holds(bytes: number): void;
  /** The socket is closed, or never was. Once. */
  onClosed(): void;
}

/** How long the local process may take to end a connection whose original has ended, while it says nothing. */
const LINGER_MS = 10_000;
/** Pieces below this are copied out of the batch they came in, which would be kept for them. */
const COPIED_BYTES = 16 * 1024;
/** Pieces, each of a read: a server says its SETTINGS and no more. */
const MAX_EARLY_ANSWERS = 4;

export class Copy {
  readonly #options: CopyOptions;
  readonly #credit: ReceiveCredit;
  #socket: net.Socket | null = null;
  /** null: the bytes go as they come. */
  #upload: Http2Upload | null = null;
  #hasBegun = false;
  /** What the local process said before the first byte of the copy. */
  #earlyAnswers: Buffer[] = [];
  /** Came before the socket was connected. */
  #early: Buffer[] = [];
  #end: 'none' | 'half' | 'whole' = 'none';
  #isClosed = false;
  #isConnected = false;
  #pendingBytes = 0;
  #whenClosed: (() => void)[] = [];

  constructor(options: CopyOptions) {
    this.#options = options;
    this.#credit = new ReceiveCredit(options.connectionBytes);
  }

  /** At once when it is closed already. */
  whenClosed(act: () => void): void {
    if (this.#isClosed) act();
    else this.#whenClosed.push(act);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Once. `from` is bound here; `onRefused` says that nobody listened or that the address was taken. */
  connect(from: InternetAddress, to: InternetAddress, onRefused: (code: string) => void): void {
    if (this.#isClosed) return;
    const socket = net.connect({
      host: formatIp(to.ip),
      port: to.port,
      localAddress: formatIp(from.ip),
      localPort: from.port,
      allowHalfOpen: true,
      noDelay: true,
    });
    this.#socket = socket;
    socket.once('connect', () => {
      this.#isConnected = true;
      for (const piece of this.#early.splice(0)) this.#write(piece);
      this.#applyEnd();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#isConnected) this.#failed();
      else {
        this.#socket = null;
        onRefused(error.code ?? 'EIO');
      }
    });
    socket.on('close', () => {
      if (this.#socket === socket) this.close();
    });
    socket.on('timeout', () => socket.destroy());
    if (this.#options.answers !== undefined) this.#options.answers.from(socket);
    else socket.on('data', (answer) => this.#answered(answer));
  }

  /** Throws PROTOCOL_VIOLATION for more than was granted. */
  receive(data: Uint8Array): void {
    this.#credit.received(data.length);
    if (this.#isClosed || data.length === 0) return;
    const piece =
      data.length < COPIED_BYTES ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.length);
    if (!this.#hasBegun) this.#begin(piece);
    this.#pendingBytes += piece.length;
    this.#options.holds(piece.length);
    if (this.#isConnected) this.#write(piece);
    else this.#early.push(piece);
  }

  /** The peer's direction has ended in order. */
  halfClose(): void {
    if (this.#end === 'none') this.#end = 'half';
    this.#applyEnd();
  }

  /**
   * The original is over. Also by a reset: that would take from a local process that is behind what its socket holds, where
   * the target had it already.
   */
  end(): void {
    this.#end = 'whole';
    this.#applyEnd();
  }

  /** Something is missing in the stream: what is behind it must not be joined to what was before. */
  cut(): void {
    if (this.#isClosed) return;
    this.#options.lost('incomplete', 0);
    this.#options.reset();
    this.#abort();
  }

  /** Nobody listened, in the end. */
  refuse(why: LocalLoss): void {
    if (this.#isClosed) return;
    this.#options.lost(why, this.#pendingBytes);
    this.#options.reset();
    this.close();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const heldBack = this.#upload?.waitingBytes ?? 0;
    if (heldBack > 0) this.#options.lost('closed early', heldBack);
    this.#early = [];
    this.#socket?.destroy();
    this.#options.holds(-this.#pendingBytes);
    this.#options.onClosed();
    for (const act of this.#whenClosed.splice(0)) act();
  }

  #begin(first: Buffer): void {
    this.#hasBegun = true;
    if (this.#options.isSelection === true && beginsHttp2(first)) {
      this.#upload = new Http2Upload({
        copied: (bytes) => this.#socket?.write(bytes, (error) => error ?? this.#taken(bytes.length)),
        dropped: (bytes) => this.#taken(bytes),
        own: (bytes) => {
          if (this.#socket?.writable === true) this.#socket.write(bytes);
        },
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
    } else if (!this.#hasBegun && this.#options.isSelection === true && this.#earlyAnswers.length < MAX_EARLY_ANSWERS) {
      this.#earlyAnswers.push(answer);
    }
  }

  #write(piece: Buffer): void {
    if (this.#upload !== null) this.#upload.push(piece);
    else this.#socket?.write(piece, (error) => error ?? this.#taken(piece.length));
  }

  /** By the local process's socket. */
  #taken(bytes: number): void {
    if (this.#isClosed) return;
    this.#pendingBytes -= bytes;
    this.#options.holds(-bytes);
    this.#options.delivered(bytes);
    const grant = this.#credit.consumed(bytes);
    if (grant > 0 && this.#end !== 'whole') this.#options.grant(grant);
  }

  #applyEnd(): void {
    const socket = this.#socket;
    if (socket === null || !this.#isConnected || this.#isClosed || this.#end === 'none') return;
    if (this.#end === 'whole') socket.setTimeout(LINGER_MS);
    // What the local process's windows hold back comes first.
    if ((this.#upload?.waitingBytes ?? 0) === 0) socket.end();
  }

  /** The local process closed or reset it. */
  #failed(): void {
    if (this.#end === 'none' || this.#pendingBytes > 0) this.#options.lost('closed early', this.#pendingBytes);
    if (this.#end === 'none' || this.#end === 'half') this.#options.reset();
    this.close();
  }

  #abort(): void {
    this.#socket?.resetAndDestroy();
    this.close();
  }
}
