// GET /metrics over HTTP/1, at the one address that the configuration names. Whoever reaches that address may read: it says
// nothing about anybody.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AppError } from '#proto/errors.ts';
import { CONTENT_TYPE } from './exposition.ts';

export type MetricsServer = Readonly<{ address: string; close: () => void }>;

const MAX_CONNECTIONS = 32;
const REQUEST_MS = 5_000;

/** Rejects with CONFIG_INVALID when nobody can listen there. @param text what a scrape gets; a failure is its 500 */
export async function openMetrics(listen: string, text: () => Promise<string>): Promise<MetricsServer> {
  const server = createServer({ requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS }, (request, response) => {
    request.resume();
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (request.url?.split('?')[0] !== '/metrics') response.writeHead(404).end('GET /metrics\n');
    else if (!isRead) response.writeHead(405, { allow: 'GET, HEAD' }).end();
    else {
      text().then(
        (body) => response.writeHead(200, { 'content-type': CONTENT_TYPE }).end(body),
        () => response.writeHead(500).end(),
      );
    }
  });
  server.maxConnections = MAX_CONNECTIONS;
  const at = listen.lastIndexOf(':');
  const host = listen.slice(0, at).replace(/^\[|\]$/g, '');
  try {
    server.listen(Number(listen.slice(at + 1)), host);
    await once(server, 'listening');
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new AppError('CONFIG_INVALID', `agent.metrics: the agent cannot listen at ${listen}: ${code}`, { cause });
  }
  const { address, port } = server.address() as AddressInfo;
  return {
    address: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
