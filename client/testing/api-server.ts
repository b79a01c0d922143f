// An HTTP or TLS server that answers as an API server would, from a table of the test's own; and what a test needs to reach
// it: a kubeconfig in a folder of its own.

import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { type ClusterAccess, type ClusterSettings, loadClusterAccess } from '../kube/config.ts';
import { testCertificates } from './certificates.ts';

/** An object is the answer 200; a number a refusal with that status; a function does as it likes. */
export type Answer = object | number | ((request: IncomingMessage, response: ServerResponse) => void);

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** Subject of the client's certificate; null without one. */
  readonly commonName: string | null;
  readonly serverName: string | null;
}

export class ApiServer implements AsyncDisposable {
  readonly seen: Seen[] = [];
  readonly url: string;
  readonly port: number;
  readonly folder: string;
  /** `GET /path`, with or without the query, to what is answered. */
  readonly answers: Map<string, Answer>;
  readonly server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, scheme: string, folder: string) {
    this.server = server;
    this.port = (server.address() as AddressInfo).port;
    this.url = `${scheme}://127.0.0.1:${this.port}`;
    this.folder = folder;
    this.answers = new Map();
    server.on('request', (request, response) => this.#answer(request, response));
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  static async start(scheme: 'http' | 'https' = 'http'): Promise<ApiServer> {
    const server = scheme === 'http' ? createServer() : tlsServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new ApiServer(server, scheme, await mkdtemp(join(tmpdir(), 'mirrord-api-')));
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** As the user names it in the kubeconfig; `cluster` and `user` are added to its entries. */
  async access(
    entries: { cluster?: object; user?: object; context?: object } = {},
    settings: Partial<ClusterSettings> = {},
  ): Promise<ClusterAccess> {
    const file = await this.writeKubeconfig(entries);
    return loadClusterAccess({ ...defaultSettings, kubeconfig: file, ...settings });
  }

  async writeKubeconfig(entries: { cluster?: object; user?: object; context?: object } = {}): Promise<string> {
    const file = join(this.folder, 'config');
    await writeFile(
      file,
      JSON.stringify({
        'current-context': 'test',
        clusters: [{ name: 'c', cluster: { server: this.url, ...entries.cluster } }],
        users: [{ name: 'u', user: entries.user ?? {} }],
        contexts: [{ name: 'test', context: { cluster: 'c', user: 'u', ...entries.context } }],
      }),
    );
    return file;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '', headers, socket } = request;
    const { servername } = socket as TLSSocket;
    const certificate = 'getPeerCertificate' in socket ? (socket as TLSSocket).getPeerCertificate() : null;
    this.seen.push({
      method,
      path: url,
      headers,
      commonName: (certificate?.subject?.CN as string | undefined) ?? null,
      serverName: typeof servername === 'string' ? servername : null,
    });
    const [bare = ''] = url.split('?');
    const answer = this.answers.get(`${method} ${url}`) ?? this.answers.get(`${method} ${bare}`) ?? 404;
    request.resume();
    if (typeof answer === 'function') answer(request, response);
    else if (typeof answer === 'number') refuse(response, answer, bare);
    else response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

export const defaultSettings: ClusterSettings = {
  kubeconfig: null,
  context: null,
  acceptInvalidCertificates: null,
  useProxy: true,
  env: {},
  isInteractive: false,
};

function tlsServer(): Server {
  const { server, ca } = testCertificates();
  return createTlsServer({ ...server, ca, requestCert: true, rejectUnauthorized: false }) as unknown as Server;
}

const REASONS: Readonly<Record<number, string>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'AlreadyExists',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  503: 'ServiceUnavailable',
};

/** As the real one does: a Status, with the object's name where it is an object that is missing. */
function refuse(response: ServerResponse, code: number, path: string): void {
  const name = path.split('/').at(-1) ?? '';
  const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: REASONS[code] ?? '', code };
  response.statusCode = code;
  response
    .setHeader('content-type', 'application/json')
    .end(JSON.stringify({ ...status, message: `${name}: ${REASONS[code]}`, details: { name } }));
}
