// The socket under an HTTP/2 connection as its bytes: by descriptor where it is a plain one that nobody has read from, else
// through the stream that it is (TLS, a WebSocket's).

import net from 'node:net';
import type { Duplex } from 'node:stream';
import { errnoName } from './errno.ts';
import type { AppError } from './errors.ts';
import type { BulkDelivery } from './sockets/bulk-delivery.ts';
import type { BulkOrder } from './sockets/bulk-order.ts';
import { socketPool } from './sockets/socket-pool.ts';
import { ownDescriptor, StreamSocket } from './sockets/stream-socket.ts';

export interface RawHandlers {
  /** Memory to read into. */
  room(): Uint8Array;
  /** By descriptor: as `StreamHandlers` has it. */
  deliver?(delivery: BulkDelivery): boolean;
  /** So many bytes lie at the start of it. */
  onBytes(count: number): void;
  onReadEnd(): void;
  /** Some of what had waited was taken. */
  onTaken(): void;
  /** As Node's own sockets tell it: with `code`. Nothing comes after it. */
  onFailed(error: Error): void;
}

export interface RawSocket {
  /** Bytes that were written and not taken. */
  readonly waitingBytes: number;
  /** They stay where they are until they are taken. */
  write(pieces: readonly Uint8Array[]): void;
  /** By descriptor, and nothing waits: then an order may carry bulk to it. */
  readonly isIdle?: boolean;
  carry?(order: BulkOrder): void;
  end(): void;
  close(): void;
  pause(): void;
  resume(): void;
}

/** Reads nothing before `resume`. */
export function rawSocket(socket: Duplex, handlers: RawHandlers): RawSocket {
  reachFar(socket);
  const fd = descriptorOf(socket);
  const shared = fd === null ? -1 : socketPool().native.share(fd);
  return shared < 0 ? new PlainStream(socket, handlers) : byDescriptor(socket, shared, handlers);
}

/** For whoever brings bulk over a distance: also under TLS. */
export function reachFar(socket: Duplex): void {
  const fd = ownDescriptorOf(socket);
  if (fd !== null) socketPool().native.reach(fd);
}

/** Null for one that is read by Node already, or that changes its bytes on their way. */
function descriptorOf(socket: Duplex): number | null {
  if (!(socket instanceof net.Socket) || 'encrypted' in socket || !socket.isPaused() || socket.bytesRead > 0)
    return null;
  return ownDescriptorOf(socket);
}

function ownDescriptorOf(socket: Duplex): number | null {
  if (!(socket instanceof net.Socket)) return null;
  // What net.Socket itself reads from; its types do not have it.
  const { fd } = Object((socket as net.Socket & { _handle?: unknown })._handle) as { fd?: unknown };
  return typeof fd === 'number' && fd >= 0 ? fd : null;
}

/**
 * The descriptor is one of our own: node's is closed in the very call that destroys the socket, whoever makes it, and its
 * number may be another connection's before anybody hears of that.
 */
function byDescriptor(socket: Duplex, fd: number, handlers: RawHandlers): RawSocket {
  const own = ownDescriptor(fd);
  const stream: StreamSocket = new StreamSocket(
    {
      fd,
      close: (isReset) => {
        own.close(isReset);
        socket.destroy();
      },
    },
    {
      room: () => handlers.room(),
      deliver: (delivery) => handlers.deliver?.(delivery) === true,
      onBytes: (count) => handlers.onBytes(count),
      onReadEnd: () => handlers.onReadEnd(),
      onTaken: () => handlers.onTaken(),
      onFailed: (error) => handlers.onFailed(asNodeError(error)),
    },
  );
  socket.once('close', () => stream.close());
  return stream;
}

function asNodeError({ message, errno }: AppError): Error {
  return Object.assign(new Error(message), { code: errnoName(errno), errno: -errno });
}

class PlainStream implements RawSocket {
  readonly #stream: Duplex;
  readonly #handlers: RawHandlers;

  constructor(stream: Duplex, handlers: RawHandlers) {
    this.#stream = stream;
    this.#handlers = handlers;
    stream.pause();
    stream.on('data', (chunk: Buffer) => this.#onChunk(chunk));
    stream.pause();
    stream.once('end', () => handlers.onReadEnd());
    stream.once('error', (error) => handlers.onFailed(error));
    stream.once('close', () => {
      if (!stream.readableEnded) handlers.onFailed(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
    });
  }

  get waitingBytes(): number {
    return this.#stream.writableLength;
  }

  write(pieces: readonly Uint8Array[]): void {
    if (this.#stream.destroyed || this.#stream.writableEnded) return;
    this.#stream.cork();
    for (const piece of pieces) this.#stream.write(piece, this.#written);
    this.#stream.uncork();
  }

  end(): void {
    this.#stream.end();
  }

  close(): void {
    this.#stream.destroy();
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  readonly #written = (): void => this.#handlers.onTaken();

  #onChunk(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const room = this.#handlers.room();
      const count = Math.min(room.length, chunk.length - at);
      room.set(chunk.subarray(at, at + count));
      at += count;
      this.#handlers.onBytes(count);
    }
  }
}
