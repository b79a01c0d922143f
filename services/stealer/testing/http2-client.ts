// A client of HTTP/2 with prior knowledge.

import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { connect as connectSocket } from 'node:net';

export type Answer = Readonly<{
  headers: IncomingHttpHeaders;
  body: Buffer;
  trailers: IncomingHttpHeaders | undefined;
  /** Of RST_STREAM; 0 when it ended well. */
  code: number;
}>;

export type Request = Readonly<{
  take?: boolean;
  method?: string;
  path?: string;
  body?: Buffer;
  headers?: OutgoingHttpHeaders;
}>;

export function connectTo(port: number, settings = {}): ClientHttp2Session & Disposable {
  const session = connect(`http://127.0.0.1:${port}`, {
    createConnection: () => connectSocket(port, '127.0.0.1'),
    settings,
  });
  session.on('error', () => undefined);
  return Object.assign(session, { [Symbol.dispose]: () => session.destroy() });
}

export function open(
  session: ClientHttp2Session,
  { take, method, path = '/', body, headers }: Request,
): ClientHttp2Stream {
  return session.request(
    {
      ':method': method ?? (body === undefined ? 'GET' : 'POST'),
      ':path': path,
      ...(take ? { 'x-take': '1' } : {}),
      ...headers,
    },
    { endStream: body === undefined },
  );
}

export async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  const chunks: Buffer[] = [];
  let head: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders | undefined;
  stream.on('response', (headers) => {
    head = headers;
  });
  stream.on('trailers', (headers) => {
    trailers = headers;
  });
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  stream.on('error', () => undefined);
  await new Promise<void>((resolve) => stream.once('close', () => resolve()));
  return { headers: head, body: Buffer.concat(chunks), trailers, code: stream.rstCode ?? 0 };
}

export async function ask(session: ClientHttp2Session, request: Request): Promise<Answer> {
  const stream = open(session, request);
  if (request.body !== undefined) stream.end(request.body);
  return await answerOf(stream);
}
