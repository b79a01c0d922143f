// The HTTP/2 connections under our servers: their settings, which call rides on which, and their end. Node keeps a
// connection as long as its peer does, and a stopped or unreachable peer keeps it for ever.

import http2 from 'node:http2';
import type { Socket } from 'node:net';
import { CallConnection } from '#proto/call-connection.ts';
import { http2Settings, SESSION_MEMORY_MB, windowBytes } from '#proto/grpc-tuning.ts';

/** A connection without a call is cut after this: a call comes with its connection and ends with it. */
const IDLE_MS = 5_000;
/** For a refusal to reach a peer that still reads. */
const CUT_GRACE_MS = 1_000;
/** Connections that have not said who they are: one more, and the one that has been silent longest makes room for it. */
export const MAX_STRANGERS = 64;
/** Beside the two that say who comes, a handful that tools add. */
const MAX_HEADER_BYTES = 16 * 1024;

type OnCall = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, connection: CallConnection) => void;

export class Connections {
  readonly #address: string;
  readonly #onCall: OnCall;
  readonly #sessions = new Set<http2.ServerHttp2Session>();
  /** In the order of their arrival. */
  readonly #strangers = new Set<http2.ServerHttp2Session>();

  constructor(address: string, onCall: OnCall) {
    this.#address = address;
    this.#onCall = onCall;
  }

  get size(): number {
    return this.#sessions.size;
  }

  accept(socket: Socket): void {
    const connection = new CallConnection(socket, this.#address, 'server');
    const session = http2.performServerHandshake(connection.duplex, {
      settings: { ...http2Settings(this.#address), maxHeaderListSize: MAX_HEADER_BYTES },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    session.on('error', () => {
      // Told to each of its calls by 'close'; without a listener the error would end the process.
    });
    if (session.destroyed) return;
    session.setLocalWindowSize(windowBytes(this.#address));
    this.#makeRoom();
    this.#sessions.add(session);
    this.#strangers.add(session);
    this.#cutWhenIdle(session, connection);
    session.once('close', () => {
      this.#sessions.delete(session);
      this.#strangers.delete(session);
    });
  }

  /** The call has said who it is: its connection does not make room for strangers. */
  admitted({ session }: http2.ServerHttp2Stream): void {
    if (session !== undefined) this.#strangers.delete(session as http2.ServerHttp2Session);
  }

  /** Cuts the connection of a call that has been given its error, so that nothing of it waits for its peer. */
  cut(stream: http2.ServerHttp2Stream): void {
    const { session } = stream;
    if (session !== undefined) setTimeout(() => session.destroy(), CUT_GRACE_MS).unref();
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  #makeRoom(): void {
    if (this.#strangers.size < MAX_STRANGERS) return;
    const [eldest] = this.#strangers;
    if (eldest === undefined) return;
    this.#strangers.delete(eldest);
    eldest.destroy();
  }

  #cutWhenIdle(session: http2.ServerHttp2Session, connection: CallConnection): void {
    let calls = 0;
    const timer = setTimeout(() => {
      if (calls === 0) session.destroy();
    }, IDLE_MS);
    timer.unref();
    session.on('stream', (stream, headers) => {
      calls += 1;
      stream.once('close', () => {
        calls -= 1;
        connection.forget(stream.id ?? 0);
        timer.refresh();
      });
      stream.on('error', () => {
        // As of the session.
      });
      this.#onCall(stream, headers, connection);
    });
    session.once('close', () => clearTimeout(timer));
  }
}
