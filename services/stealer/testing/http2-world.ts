// The relay between clients, a target and a local process of HTTP/2, all on real sockets of this machine.

import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { type FrameHead, PREFACE, settings } from '#runtime/http2/frame.ts';
import { FrameReader } from '#runtime/http2/frame-reader.ts';
import { type Answer, connectTo, open, type Request } from './http2-client.ts';
import { RelayWorld, sha } from './relay-world.ts';

export type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** Answers with who it is and what it got, twice over when asked to. */
export const echo =
  (name: string): OnStream =>
  (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      if (stream.destroyed) return;
      const body = Buffer.concat(chunks);
      stream.respond(
        { ':status': 200, by: name, path: headers[':path'], sum: sha(body), note: headers['x-note'] ?? '' },
        { waitForTrailers: true },
      );
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-end': name }));
      stream.end(body);
    });
  };

/** Of what is waited for on a busy machine. */
export const SOON = { timeout: 30_000 } as const;

export const by = (answers: readonly Answer[]) => answers.map(({ headers }) => headers['by']);

export class Http2World extends RelayWorld {
  async serveStreams(onStream: OnStream, values = {}): Promise<number> {
    const server = createServer({ settings: values });
    server.on('stream', onStream);
    server.on('sessionError', () => undefined);
    return await this.serveWith(server);
  }

  /** @param values SETTINGS of the target */
  async openEchoes(values = {}): Promise<void> {
    await this.open(await this.serveStreams(echo('target'), values), await this.serveStreams(echo('local')));
  }

  /** A way to the relay that cuts what it is sent into pieces of these lengths; its port. */
  async cutting(cuts: readonly number[]): Promise<number> {
    return await this.serveRaw((socket) => cutInto(socket, connect(this.port, '127.0.0.1'), cuts));
  }

  /** What a client sends for a request to a server that says nothing. */
  async recordOf(request: Request): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let resolve = (): void => undefined;
    const asked = new Promise<void>((done) => {
      resolve = done;
    });
    const port = await this.serveRaw((socket) => {
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        const frames = framesOf(Buffer.concat(chunks).subarray(PREFACE.length));
        if (frames.some(({ flags, type }) => (flags & 1) === 1 && type < 2)) resolve();
      });
      socket.write(settings([]));
    });
    using client = connectTo(port);
    const stream = open(client, request);
    stream.on('error', () => undefined);
    stream.end(request.body);
    await asked;
    return Buffer.concat(chunks);
  }
}

/** Joins two sockets, the first's bytes in pieces of these lengths. */
export function cutInto(from: Socket, to: Socket, cuts: readonly number[]): void {
  let turn = 0;
  from.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; ) {
      const length = cuts[turn++ % cuts.length] as number;
      to.write(chunk.subarray(at, at + length));
      at += length;
    }
  });
  to.setNoDelay(true);
  to.on('data', (chunk: Buffer) => from.write(chunk));
  for (const [one, other] of [
    [from, to],
    [to, from],
  ] as const) {
    one.on('end', () => other.end()).on('error', () => other.destroy());
    one.on('close', () => other.destroy());
  }
}

export function framesOf(bytes: Buffer): FrameHead[] {
  const reader = new FrameReader(() => true);
  reader.push(bytes);
  const heads: FrameHead[] = [];
  for (let piece = reader.next(); piece !== undefined && piece !== 'doubtful'; piece = reader.next())
    heads.push(piece.head);
  return heads;
}
