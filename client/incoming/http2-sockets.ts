// The connections to the local process that one copy of HTTP/2 has: the newest takes new streams, the others finish theirs. A local
// process that says goodbye, or closes a connection, gets what it has not looked at on another one.
//
// Memory: of each socket what its kernel has not taken, within the copy's credit; http2-streams.ts.

import type net from 'node:net';
import { Http2Streams } from './http2-streams.ts';
import type { Http2Upload } from './http2-upload.ts';
import type { Ends, UnreadBytes } from './unread-bytes.ts';

export interface Http2SocketsOptions {
  /** Bytes of the copy have gone. */
  taken(bytes: number): void;
  /** Bytes of the copy cannot go; also with none, where the rest of a request has nowhere to go. */
  lost(bytes: number): void;
  /** Another connection is wanted. */
  again(): void;
  /** So many bytes more, or less, are kept beside the copy's. */
  keeps(bytes: number): void;
  /** Something has gone, is answered or closed. */
  progress(): void;
}

interface Use {
  readonly ends: Ends;
  /** null: it is about to be attached. */
  upload: Http2Upload | null;
  /** Not taken by the kernel yet. */
  unsentBytes: number;
  isSilent: boolean;
}

export class Http2Sockets {
  readonly #options: Http2SocketsOptions;
  readonly #streams: Http2Streams;
  readonly #uses = new Map<net.Socket, Use>();
  #keptBytes = 0;

  constructor(options: Http2SocketsOptions) {
    this.#options = options;
    this.#streams = new Http2Streams({
      dropped: options.taken,
      lost: options.lost,
      connect: options.again,
      keeps: (bytes) => this.#keeps(bytes),
    });
  }

  /** Held back by the local process's windows, or for want of a connection. */
  get waitingBytes(): number {
    return this.#streams.waitingBytes;
  }

  /** Whatever was asked for in full is answered. */
  get isDone(): boolean {
    return this.#streams.isDone;
  }

  get isClosed(): boolean {
    return this.#uses.size === 0;
  }

  push(bytes: Buffer): void {
    this.#streams.push(bytes);
  }

  /** A connected one; what it has said already. */
  attach(socket: net.Socket, ends: Ends, said: readonly Buffer[]): void {
    const use: Use = { ends, upload: null, unsentBytes: 0, isSilent: false };
    this.#uses.set(socket, use);
    socket.on('data', (answer) => this.#answered(use, answer));
    socket.on('end', () => {
      this.#silent(use);
      socket.end();
    });
    socket.on('error', () => this.#silent(use));
    socket.on('close', () => this.#closed(socket, use));
    use.upload = this.#streams.attach({
      copied: (bytes) => this.#write(socket, use, bytes),
      own: (bytes) => {
        if (socket.writable) socket.write(bytes);
      },
    });
    for (const answer of said) this.#answered(use, answer);
  }

  /** No connection comes. @returns what waited for it */
  forsake(): number {
    return this.#streams.forsake();
  }

  /** Everything is done. */
  end(lingerMs: number): void {
    for (const socket of this.#uses.keys()) socket.setTimeout(lingerMs).end();
  }

  /** As the original was. */
  reset(unread: UnreadBytes): void {
    for (const [socket, { ends }] of this.#uses) {
      unread.whenRead(ends, (isRead) => (isRead ? socket.resetAndDestroy() : socket.destroy()));
    }
  }

  close(isReset: boolean): void {
    const sockets = [...this.#uses.keys()];
    this.#uses.clear();
    this.#keeps(-this.#keptBytes);
    for (const socket of sockets) {
      if (isReset) socket.resetAndDestroy();
      else socket.destroy();
    }
  }

  #write(socket: net.Socket, use: Use, bytes: Buffer): void {
    use.unsentBytes += bytes.length;
    socket.write(bytes, (error) => {
      if (error || !this.#uses.has(socket)) return;
      use.unsentBytes -= bytes.length;
      this.#options.taken(bytes.length);
    });
  }

  #answered(use: Use, answer: Buffer): void {
    if (use.upload !== null) this.#streams.answer(use.upload, answer);
    this.#options.progress();
  }

  /** Nothing more is answered there. */
  #silent(use: Use): void {
    if (use.isSilent) return;
    use.isSilent = true;
    if (use.upload === null) return;
    const { streams, bytes } = this.#streams.ended(use.upload);
    if (streams > 0) this.#options.lost(bytes);
    this.#options.progress();
  }

  #closed(socket: net.Socket, use: Use): void {
    if (!this.#uses.delete(socket)) return;
    this.#silent(use);
    if (use.unsentBytes > 0) this.#options.lost(use.unsentBytes);
    this.#options.progress();
  }

  #keeps(bytes: number): void {
    this.#keptBytes += bytes;
    this.#options.keeps(bytes);
  }
}
