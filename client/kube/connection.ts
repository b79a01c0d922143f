// A connection to the API server: TCP, through a proxy or not, then TLS with what the kubeconfig says. One way for requests,
// watches and port-forwards.

import { createConnection, isIP, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { AppError } from '#proto/errors.ts';
import type { ClusterAccess } from './config.ts';
import type { ClientCertificate, Credentials } from './credentials.ts';
import type { ProxyAddress } from './proxy.ts';
import { readUntil } from './read-until.ts';
import { socksHandshake } from './socks.ts';

/** TCP, proxy and TLS handshake together. */
const CONNECT_DEADLINE_MS = 15_000;
/** The head of a proxy's answer. */
const MAX_PROXY_HEAD_BYTES = 16 * 1024;

/** Of a cluster, what a connection needs. */
export type Reachable = Pick<ClusterAccess, 'server' | 'contextName' | 'tls' | 'proxy'> & {
  readonly credentials: Pick<Credentials, 'certificate'>;
};

/** Rejects with SERVICE_UNAVAILABLE, DEADLINE_EXCEEDED, UNAUTHENTICATED or CANCELLED; nothing is left open then. */
export async function connectToServer(access: Reachable, signal: AbortSignal): Promise<Socket> {
  const timer = new AbortController();
  const timeout = setTimeout(() => timer.abort(), CONNECT_DEADLINE_MS);
  const either = AbortSignal.any([signal, timer.signal]);
  let raw: Socket | null = null;
  try {
    // A plugin has a deadline of its own, and may wait for the user.
    const certificate = access.server.protocol === 'https:' ? await access.credentials.certificate(signal) : null;
    timeout.refresh();
    raw = await dial(access, either);
    if (access.server.protocol === 'http:') return raw;
    const { tls, server } = access;
    const host = hostOf(server);
    const serverName = tls.serverName ?? (isIP(host) === 0 ? host : null);
    const secure = connectTls({
      socket: raw,
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: !tls.isInsecure,
      // The name that is checked; an address is checked as such and sent to nobody.
      host: serverName ?? host,
      ...(serverName === null ? {} : { servername: serverName }),
      secureContext: contextOf(access, certificate),
    });
    await handshake(secure, either);
    return secure;
  } catch (error) {
    raw?.destroy();
    throw toConnectError(error, access, signal, timer.signal);
  } finally {
    clearTimeout(timeout);
  }
}

interface KnownContext {
  readonly context: SecureContext;
  readonly certificate: ClientCertificate | null;
}
const contexts = new WeakMap<Reachable, KnownContext>();

/** Reading authorities and a key takes longer than a handshake with them: once, until the certificate is another. */
function contextOf(access: Reachable, certificate: ClientCertificate | null): SecureContext {
  const known = contexts.get(access);
  if (known !== undefined && isSame(known.certificate, certificate)) return known.context;
  const { ca } = access.tls;
  const context = createSecureContext({ ...(ca === null ? {} : { ca }), ...(certificate ?? {}) });
  contexts.set(access, { context, certificate });
  return context;
}

function isSame(one: ClientCertificate | null, other: ClientCertificate | null): boolean {
  if (one === null || other === null) return one === other;
  return one.cert.equals(other.cert) && one.key.equals(other.key);
}

export function hostOf(server: URL): string {
  return server.hostname.replace(/^\[|\]$/g, '');
}

function portOf(server: URL): number {
  return Number(server.port) || (server.protocol === 'https:' ? 443 : 80);
}

async function dial({ server, proxy, tls }: Reachable, signal: AbortSignal): Promise<Socket> {
  if (proxy === null) return connected(createConnection({ host: hostOf(server), port: portOf(server) }), signal);
  let socket: Socket = await connected(createConnection({ host: proxy.host, port: proxy.port }), signal);
  try {
    if (proxy.kind === 'https') {
      // Go, and so kubectl, trusts the same authorities for a proxy as for the server behind it.
      const secure = connectTls({
        socket,
        host: proxy.host,
        rejectUnauthorized: !tls.isInsecure,
        ...(isIP(proxy.host) === 0 ? { servername: proxy.host } : {}),
        ...(tls.ca === null ? {} : { ca: tls.ca }),
      });
      await handshake(secure, signal);
      socket = secure;
    }
    if (proxy.kind === 'socks5') await socksHandshake(socket, proxy, hostOf(server), portOf(server), signal);
    else await tunnel(socket, proxy, server, signal);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function connected(socket: Socket, signal: AbortSignal): Promise<Socket> {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, 30_000);
  return settled(socket, 'connect', signal).then(() => socket);
}

function handshake(socket: TLSSocket, signal: AbortSignal): Promise<void> {
  return settled(socket, 'secureConnect', signal);
}

/** Rejects, with the socket destroyed, for what ends it before the event. */
function settled(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null) => {
      socket.off('error', done).off('close', onClose).off(event, onEvent);
      signal.removeEventListener('abort', onAbort);
      if (error === null) return resolve();
      socket.on('error', () => {}).destroy();
      reject(error);
    };
    const onEvent = () => done(null);
    const onClose = () => done(new Error('the other side closed the connection'));
    const onAbort = () => done(new Error('given up'));
    socket.once('error', done).once('close', onClose).once(event, onEvent);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

/** CONNECT (RFC 9110 section 9.3.6). */
async function tunnel(socket: Socket, proxy: ProxyAddress, server: URL, signal: AbortSignal): Promise<void> {
  const authority = `${server.hostname}:${portOf(server)}`;
  const credentials = proxy.user === null ? null : `${proxy.user.name}:${proxy.user.password}`;
  const authorization =
    credentials === null ? '' : `Proxy-Authorization: Basic ${Buffer.from(credentials).toString('base64')}\r\n`;
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${authorization}\r\n`);
  const head = await readUntil(socket, signal, (bytes) => {
    const end = bytes.indexOf('\r\n\r\n');
    if (end >= 0) return end + 4;
    if (bytes.length > MAX_PROXY_HEAD_BYTES) throw new Error('the proxy sends no end of its answer');
    return null;
  });
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(head.toString('latin1'))?.[1];
  if (status?.startsWith('2')) return;
  const what = status === '407' ? 'wants other credentials (407)' : `refused the connection (${status ?? 'no HTTP'})`;
  throw new AppError('SERVICE_UNAVAILABLE', `proxy ${proxy.host}:${proxy.port} ${what} to ${authority}`, {
    data: { advice: 'check proxy-url of the kubeconfig or HTTPS_PROXY, and NO_PROXY for servers reached without it.' },
  });
}

/** Node's codes of a certificate that is not to be trusted (tls: "X509 certificate error codes"). */
const UNTRUSTED = /CERT|SIGNATURE|ISSUER|ALTNAME/;

function toConnectError(error: unknown, access: Reachable, asked: AbortSignal, timer: AbortSignal): AppError {
  if (error instanceof AppError) return error;
  const { server, proxy } = access;
  const where = `${server.hostname}:${portOf(server)}${proxy === null ? '' : ` through proxy ${proxy.host}:${proxy.port}`}`;
  if (asked.aborted) return new AppError('CANCELLED', `connecting to ${where} was given up`, { cause: error });
  const context = access.contextName === null ? 'the pod’s own cluster' : `context ${access.contextName}`;
  if (timer.aborted) {
    const what = `the API server of ${context} at ${where} does not answer within ${CONNECT_DEADLINE_MS / 1000} s`;
    return new AppError('DEADLINE_EXCEEDED', what, { cause: error, data: { advice: REACH } });
  }
  const { code, message } = Object(error) as NodeJS.ErrnoException;
  if (code !== undefined && UNTRUSTED.test(code)) {
    return new AppError('SERVICE_UNAVAILABLE', `the API server at ${where} is not trusted: ${message} (${code})`, {
      cause: error,
      data: {
        move: 'user',
        advice: `correct certificate-authority or tls-server-name of ${context}; --accept-invalid-certificates trusts whoever answers.`,
      },
    });
  }
  return new AppError('SERVICE_UNAVAILABLE', `the API server of ${context} at ${where} cannot be reached: ${message}`, {
    cause: error,
    data: { advice: REACH },
  });
}

const REACH =
  '`kubectl get pods` must work from here with the same context: check the network, a VPN, and the context’s server.';
