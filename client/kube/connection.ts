// Requests to one server over the agent that the Kubernetes library has made for it: a proxy or none, TLS with what the kubeconfig
// says. A deadline for the way there, which the library has not, and words for what fails on it.

import { type ClientRequest, request as requestPlain } from 'node:http';
import { type RequestOptions, request as requestTls } from 'node:https';
import { AppError } from '#proto/errors.ts';
import type { ClusterAccess } from './config.ts';

/** TCP, proxy and TLS handshake together. */
export const CONNECT_DEADLINE_MS = 15_000;

/** Ways that have been there: a kept connection serves one request after another. */
const made = new WeakSet<object>();

/** Of a cluster, what a connection needs. */
export type Reachable = Pick<ClusterAccess, 'server' | 'contextName' | 'proxy'>;

export interface Ask extends RequestOptions {
  readonly signal: AbortSignal;
  /** With the query. */
  readonly path: string;
}

/**
 * A request that is still to be ended. `onError` is given SERVICE_UNAVAILABLE, DEADLINE_EXCEEDED or CANCELLED where the way to the
 * server fails, and later what Node says.
 */
export function ask(to: Reachable, options: Ask, onError: (error: Error) => void): ClientRequest {
  const isSecure = to.server.protocol === 'https:';
  const host = hostOf(to.server);
  // In a CONNECT an IPv6 address has brackets, and nowhere else.
  const named = to.proxy === null || to.proxy.kind === 'socks5' ? host : to.server.hostname;
  const sent = (isSecure ? requestTls : requestPlain)({ ...options, host: named, port: portOf(to.server) });
  let isThere = false;
  let isLate = false;
  let timer: NodeJS.Timeout | undefined;
  const arrived = () => {
    isThere = true;
    clearTimeout(timer);
  };
  // Who waits for one of the connections that all share is not on the way yet.
  sent.once('socket', (socket) => {
    if (made.has(socket) || (!isSecure && !socket.connecting)) return arrived();
    timer = setTimeout(() => {
      isLate = true;
      sent.destroy(new Error('late'));
    }, CONNECT_DEADLINE_MS);
    socket.once(isSecure ? 'secureConnect' : 'connect', () => {
      made.add(socket);
      socket.setKeepAlive(true, 30_000);
      arrived();
    });
  });
  sent.once('close', () => clearTimeout(timer));
  sent.on('error', (error) => {
    clearTimeout(timer);
    onError(isThere ? error : toConnectError(error, to, { isAsked: options.signal.aborted, isLate }));
  });
  return sent;
}

export function hostOf(server: URL): string {
  return server.hostname.replace(/^\[|\]$/g, '');
}

function portOf(server: URL): number {
  return Number(server.port) || (server.protocol === 'https:' ? 443 : 80);
}

/** Node's codes of a certificate that is not to be trusted (tls: "X509 certificate error codes"). */
const UNTRUSTED = /CERT|SIGNATURE|ISSUER|ALTNAME/;

function toConnectError(
  error: Error,
  { server, proxy, contextName }: Reachable,
  { isAsked, isLate }: { readonly isAsked: boolean; readonly isLate: boolean },
): AppError {
  if (error instanceof AppError) return error;
  const address = `${server.hostname}:${portOf(server)}`;
  const where = `${address}${proxy === null ? '' : ` through proxy ${proxy.host}:${proxy.port}`}`;
  if (isAsked) return new AppError('CANCELLED', `connecting to ${where} was given up`, { cause: error });
  const context = contextName === null ? 'the pod’s own cluster' : `context ${contextName}`;
  const { code, message } = error as NodeJS.ErrnoException;
  if (isLate || message === 'Proxy timeout') {
    const what = `the API server of ${context} at ${where} does not answer within ${CONNECT_DEADLINE_MS / 1000} s`;
    return new AppError('DEADLINE_EXCEEDED', what, { cause: error, data: { advice: REACH } });
  }
  if (code !== undefined && UNTRUSTED.test(code)) {
    return new AppError('SERVICE_UNAVAILABLE', `the API server at ${where} is not trusted: ${message} (${code})`, {
      cause: error,
      data: {
        move: 'user',
        advice: `correct certificate-authority or tls-server-name of ${context}; --accept-invalid-certificates trusts whoever answers.`,
      },
    });
  }
  const refusal = proxy === null ? null : refusalOf(message);
  if (proxy !== null && refusal !== null) {
    // Without the cause, which may hold the proxy's password.
    return new AppError('SERVICE_UNAVAILABLE', `proxy ${proxy.host}:${proxy.port} ${refusal} to ${address}`, {
      data: { advice: PROXY },
    });
  }
  return new AppError('SERVICE_UNAVAILABLE', `the API server of ${context} at ${where} cannot be reached: ${message}`, {
    cause: error,
    data: { advice: REACH },
  });
}

/** What the library's agents say when a proxy says no. */
function refusalOf(message: string): string | null {
  const status = /^Bad response: (\d{3})$/.exec(message)?.[1];
  if (status === '407' || /^Socks5 Authentication failed/.test(message)) {
    return `wants other credentials${status === undefined ? '' : ` (${status})`}`;
  }
  if (status !== undefined) return `refused the connection (${status})`;
  const words = /^Socks5 proxy rejected connection - (\w+)/.exec(message)?.[1];
  return words === undefined ? null : `refused the connection (${words})`;
}

const REACH =
  '`kubectl get pods` must work from here with the same context: check the network, a VPN, and the context’s server.';
const PROXY = 'check proxy-url of the kubeconfig or HTTPS_PROXY, and NO_PROXY for servers reached without it.';
