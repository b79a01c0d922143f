// The HTTP/2 connections under our grpc-js servers: their window, which call rides on which, and their end. grpc-js keeps
// a connection as long as its peer does, and a stopped or unreachable peer keeps it for ever.

import http2 from 'node:http2';
import { type Metadata, type Server, ServerCredentials } from '@grpc/grpc-js';

/** A connection without a call is cut after this: a call comes with its connection and ends with it. */
const IDLE_MS = 5_000;
/** For a refusal to reach a peer that still reads. */
const CUT_GRACE_MS = 1_000;
/** Set here on every call, whatever the peer sent under that name. */
const CONNECTION_KEY = 'mirrord-connection';

type Injector = ReturnType<Server['createConnectionInjector']>;

export class Connections {
  readonly injector: Injector;
  readonly #sessions = new Map<string, http2.ServerHttp2Session>();
  #nextId = 1;

  constructor(server: Server, windowBytes: number) {
    this.injector = this.#createTunedInjector(server, windowBytes);
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Cuts the connection of a call that has been given its error, so that nothing of it waits for its peer. */
  cut(metadata: Metadata): void {
    const session = this.#sessions.get(String(metadata.get(CONNECTION_KEY)[0]));
    if (session !== undefined) setTimeout(() => session.destroy(), CUT_GRACE_MS).unref();
  }

  close(): void {
    for (const session of this.#sessions.values()) session.destroy();
    this.injector.destroy();
  }

  /**
   * grpc-js has no option for the window of a server, and the default of 64 KiB makes a quarter of the throughput
   * (grpc/grpc-node#3058). So node's function is ours for the one synchronous call in which grpc-js makes its http2 server.
   */
  #createTunedInjector(server: Server, windowBytes: number): Injector {
    const { createServer } = http2;
    http2.createServer = ((given: http2.ServerOptions, listener?: never) => {
      const made = createServer(
        { ...given, settings: { ...given.settings, initialWindowSize: windowBytes } },
        listener,
      );
      made.on('session', (session) => {
        session.setLocalWindowSize(windowBytes);
        this.#track(session);
      });
      return made;
    }) as typeof http2.createServer;
    try {
      return server.createConnectionInjector(ServerCredentials.createInsecure());
    } finally {
      http2.createServer = createServer;
    }
  }

  #track(session: http2.ServerHttp2Session): void {
    const id = String(this.#nextId);
    this.#nextId += 1;
    this.#sessions.set(id, session);
    let calls = 0;
    const timer = setTimeout(() => {
      if (calls === 0) session.destroy();
    }, IDLE_MS);
    timer.unref();
    session.prependListener('stream', (stream, headers) => {
      headers[CONNECTION_KEY] = id;
      calls += 1;
      stream.once('close', () => {
        calls -= 1;
        timer.refresh();
      });
    });
    session.once('close', () => {
      clearTimeout(timer);
      this.#sessions.delete(id);
    });
  }
}
