// A client, a target and a session's local process around one relay, all on real sockets of this machine. What the relay reads
// is wiped right after its use: nothing passes a test that keeps what it should have copied.

import { createHash } from 'node:crypto';
import { closeSync } from 'node:fs';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { BodyLimits, FilteredRequest } from '#http-filter/http-filter.ts';
import type { RequestBody } from '#http-filter/request-body.ts';
import { type FdPoll, READABLE, watchFd } from '#proto/sockets/addon.ts';
import { decideOnce } from '../http-handling.ts';
import { stealerAddon } from '../native/index.ts';
import type { AnswerFrom, AnswerMarks } from '../relay/answer-fields.ts';
import { type Decision, type Taker, Undecided } from '../relay/decision.ts';
import type { Door } from '../relay/doors.ts';
import type { Endpoint, LocalEnding } from '../relay/endpoint.ts';
import { Http1Relay } from '../relay/http1-relay.ts';
import { Http2Relay } from '../relay/http2-relay.ts';
import { MarkedAnswers } from '../relay/marked-answers.ts';
import { adoptArrival, PoolEndpoint } from '../relay/pool-endpoint.ts';
import { SocketPool } from '../relay/socket-pool.ts';

/** 127.0.0.1 in IPv6's form. */
export const LOOPBACK = Buffer.from('00000000000000000000ffff7f000001', 'hex');

export const sha = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** Answers each request with who it is and what it got. */
export const echo =
  (name: string): RequestListener =>
  (request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ by: name, request: `${request.method} ${request.url}`, body: sha(body) }));
    });
  };

const isTakenBy = (body: RequestBody | null): boolean => Object.hasOwn(Object(body?.json ?? {}), 'take');

export class RelayWorld {
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();
  readonly pool = new SocketPool({ isMemoryWiped: true });
  /** What plain requests are looked through for. */
  readonly screen = this.pool.screens.open();
  /** What decisions depend on. */
  standing = 0;
  /** Requests of HTTP/2 that were decided as others before them. */
  known = 0;
  /** Requests of HTTP/1 that were shown to the filter. */
  decisions = 0;
  /** The same, of joined connections before anybody was told. */
  judged = 0;
  #listener: FdPoll | undefined;
  #door: Door | undefined;
  #listenerFd: number | undefined;
  /** Connections come in at a door of the pool, whose plain requests pass from the first on. */
  readonly #hasDoor: boolean;
  readonly relays = new Set<Http1Relay | Http2Relay>();
  takerPort = 0;
  originPort = 0;
  port = 0;
  isTaking = true;
  /** Takes by the body instead: what has `take` in its JSON. */
  bodyLimits: BodyLimits | undefined;

  /** What the session's end says of a request when the local process ends the connection. */
  localEnd: LocalEnding | undefined;
  /** What answers are given. */
  marks: AnswerMarks | undefined;
  firstHeadMs: number | undefined;
  /** How long the local process's connection stays without a request. */
  idleMs = 0;

  constructor({ hasDoor = false } = {}) {
    this.#hasDoor = hasDoor;
  }

  /** Takes what has the header `x-take`, in any case. */
  get taker(): Taker {
    return this.#taker;
  }

  readonly #taker = (() => {
    const open = () => this.#marked(Object.assign(this.#dial(this.takerPort), { localEnd: this.localEnd }), 'session');
    const idle = () => this.idleMs;
    return {
      isOver: false,
      open,
      get idleMs() {
        return idle();
      },
    };
  })();

  #marked(endpoint: PoolEndpoint, from: AnswerFrom): Endpoint {
    return this.marks === undefined ? endpoint : new MarkedAnswers(endpoint, this.marks, from);
  }

  #keep(socket: Socket): Socket {
    this.#sockets.add(socket);
    return socket.on('close', () => this.#sockets.delete(socket));
  }

  #dial(port: number): PoolEndpoint {
    return new PoolEndpoint(stealerAddon().connect(-1, { address: LOOPBACK, port }), {
      pool: this.pool,
      dialMs: 10_000,
    });
  }

  async serve(listener: RequestListener): Promise<number> {
    const server = createHttpServer(listener);
    server.on('upgrade', (request, socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${request.headers.upgrade}\r\n\r\n`,
      );
      socket.pipe(socket);
    });
    return await this.serveWith(server);
  }

  async serveRaw(onConnection: (socket: Socket) => void): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#keep(socket).on('error', () => socket.destroy());
      onConnection(socket);
    });
    this.#servers.push(server);
    return await listening(server);
  }

  /** The filter is asked of each request of joined connections; that of bodies says only when there is none. */
  judge(isFailing = false): void {
    this.pool.screens.set(this.screen, null, (request, hasBody) => {
      this.judged += 1;
      if (isFailing) throw new Error('a filter that fails');
      return this.bodyLimits === undefined ? !this.#isWanted(request) : !hasBody;
    });
  }

  #isWanted({ headerLines }: FilteredRequest): boolean {
    return this.isTaking && headerLines.some((line) => line.startsWith('x-take:'));
  }

  async open(origin: number, taker: number): Promise<void> {
    this.originPort = origin;
    this.takerPort = taker;
    const { screen } = this;
    this.pool.screens.set(screen, this.bodyLimits === undefined ? ['x-take'] : null);
    this.#listen((client, first, arrived) => {
      let fresh = first;
      const connectOrigin = (): Endpoint => {
        const origin = fresh ?? this.#marked(this.#dial(this.originPort), 'target');
        fresh = undefined;
        return origin;
      };
      const decide = (request: FilteredRequest): Decision => {
        if (this.bodyLimits !== undefined) {
          return new Undecided(this.bodyLimits, (body) => (isTakenBy(body) ? this.taker : undefined));
        }
        return this.#isWanted(request) ? this.taker : undefined;
      };
      let relay: Http1Relay | Http2Relay = new Http1Relay({
        client,
        connectOrigin,
        decide: decideOnce(this.pool, screen, (request) => {
          this.decisions += 1;
          return decide(request);
        }),
        screen,
        ...(this.firstHeadMs === undefined ? {} : { firstHeadMs: this.firstHeadMs }),
        onHttp2: ({ fromClient, fromOrigin, origin = connectOrigin() }) => {
          this.relays.delete(relay);
          const next = new Http2Relay({
            client,
            origin,
            decide,
            standing: () => this.standing,
            onKnown: () => void this.known++,
            screen,
            onClosed: () => this.relays.delete(next),
          });
          relay = next;
          this.relays.add(next);
          next.push(fromClient, fromOrigin);
        },
        onClosed: () => this.relays.delete(relay),
        arrived,
      });
      this.relays.add(relay);
    });
  }

  #listen(onClient: (client: PoolEndpoint, origin?: PoolEndpoint, arrived?: { wasAsked: boolean }) => void): void {
    const fd = stealerAddon().listen(-1, 128);
    const { pool } = this;
    this.port = stealerAddon().localOf(fd).port;
    if (!this.#hasDoor) {
      this.#listener = watchFd(fd, () => {
        const accept = () => stealerAddon().accept(fd);
        for (let next = accept(); next !== null; next = accept()) onClient(new PoolEndpoint(next.fd, { pool }));
      });
      this.#listener.start(READABLE);
      return;
    }
    this.#door = pool.openDoor({
      listenerFd: fd,
      namespaceFd: -1,
      redirect: null,
      isTranslated: false,
      to: { address: LOOPBACK, port: this.originPort },
      onStrange: (one) => onClient(new PoolEndpoint(one, { pool })),
      onArrival: (arrival) => {
        const { client, origin } = adoptArrival(arrival, { pool, dialMs: 10_000, onDialled: () => undefined });
        onClient(client, origin, arrival.isDialling ? undefined : arrival);
      },
    });
    this.#door.passBy(this.port, this.screen);
    this.#listenerFd = fd;
  }

  /** A server that `close` closes; where it listens. */
  async serveWith(server: Server): Promise<number> {
    server.on('connection', (socket: Socket) => this.#keep(socket));
    this.#servers.push(server);
    return await listening(server);
  }

  connect(): Socket {
    const socket = connect({ port: this.port, host: '127.0.0.1', allowHalfOpen: true });
    return this.#keep(socket).on('error', () => socket.destroy());
  }

  /** Sends bytes on a new connection, in pieces, then FIN; all that came back until the other side's end. */
  async ask(bytes: Buffer | string, cuts: readonly number[] = []): Promise<Buffer> {
    const whole = Buffer.from(bytes as string, 'latin1');
    const socket = this.connect();
    const answer = collect(socket);
    const ends = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b);
    let start = 0;
    for (const end of [...ends, whole.length]) {
      socket.write(whole.subarray(start, end));
      start = end;
      // Its own segment: the next one is written when the event loop has turned.
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.end();
    return await answer;
  }

  get openSockets(): number {
    return this.#sockets.size + this.pool.size + 2 * this.pool.arrivalsOf(this.screen);
  }

  async close(): Promise<void> {
    this.#door?.close();
    for (const relay of [...this.relays]) relay.destroy();
    if (this.#listenerFd !== undefined) closeSync(this.#listenerFd);
    this.#listener?.close();
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

/** Everything until the other side's end or the connection's. */
export async function collect(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise<void>((resolve) => socket.once('end', resolve).once('close', () => resolve()));
  return Buffer.concat(chunks);
}

/** Resolves when what came fulfils `isEnough`. */
export async function until(socket: Socket, isEnough: (text: string) => boolean): Promise<string> {
  let text = '';
  return await new Promise((resolve, reject) => {
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (!isEnough(text)) return;
      socket.off('data', onData).off('close', onClosed);
      resolve(text);
    };
    const onClosed = () => reject(new Error(`closed after ${JSON.stringify(text)}`));
    socket.on('data', onData).once('close', onClosed);
  });
}
