// The client's half of SOCKS 5 (RFC 1928) with user names (RFC 1929); the proxy resolves the name.

import type { Socket } from 'node:net';
import { AppError } from '#proto/errors.ts';
import type { ProxyAddress } from './proxy.ts';
import { readUntil } from './read-until.ts';

const NO_AUTHENTICATION = 0;
const USER_NAME = 2;
const ADDRESS_LENGTHS: Readonly<Record<number, number>> = { 1: 4, 4: 16 };
/** RFC 1928 section 6. */
const REPLIES = [
  'succeeded',
  'general failure',
  'not allowed by its rules',
  'network unreachable',
  'host unreachable',
  'connection refused',
  'TTL expired',
  'command not supported',
  'address type not supported',
];

export async function socksHandshake(
  socket: Socket,
  proxy: ProxyAddress,
  host: string,
  port: number,
  signal: AbortSignal,
): Promise<void> {
  const take = (length: number) => readUntil(socket, signal, (bytes) => (bytes.length >= length ? length : null));
  const methods = proxy.user === null ? [NO_AUTHENTICATION] : [NO_AUTHENTICATION, USER_NAME];
  socket.write(Buffer.from([5, methods.length, ...methods]));
  const [version, method] = await take(2);
  if (version !== 5) throw refused(proxy, 'is no SOCKS 5 proxy');
  if (method === USER_NAME && proxy.user !== null) {
    socket.write(Buffer.concat([Buffer.from([1]), short(proxy.user.name), short(proxy.user.password)]));
    const [, status] = await take(2);
    if (status !== 0) throw refused(proxy, 'wants other credentials');
  } else if (method !== NO_AUTHENTICATION) throw refused(proxy, 'wants credentials');
  socket.write(Buffer.concat([Buffer.from([5, 1, 0, 3]), short(host), Buffer.from([port >> 8, port & 255])]));
  const [, reply = 1, , type = 0] = await take(4);
  if (reply !== 0) throw refused(proxy, `answers: ${REPLIES[reply] ?? reply}`);
  const length = ADDRESS_LENGTHS[type] ?? (await take(1))[0] ?? 0;
  await take(length + 2);
}

/** A length in one byte, then the bytes. */
function short(text: string): Buffer {
  const bytes = Buffer.from(text).subarray(0, 255);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function refused(proxy: ProxyAddress, what: string): AppError {
  return new AppError('SERVICE_UNAVAILABLE', `SOCKS proxy ${proxy.host}:${proxy.port} ${what}`, {
    data: { advice: 'check proxy-url of the kubeconfig or HTTPS_PROXY.' },
  });
}
