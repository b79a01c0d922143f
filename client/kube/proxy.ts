// Which proxy a cluster is reached through, in the words of the environment that every tool understands. Pure.

import { BlockList, isIP } from 'node:net';
import { AppError } from '#proto/errors.ts';

export interface ProxyAddress {
  readonly kind: 'http' | 'https' | 'socks5';
  readonly host: string;
  readonly port: number;
  readonly user: { readonly name: string; readonly password: string } | null;
}

const DEFAULT_PORTS = { http: 80, https: 443, socks5: 1080 } as const;

/** Throws CONFIG_INVALID; the message shows no password. */
export function parseProxy(text: string, place: string): ProxyAddress {
  const full = text.includes('://') ? text : `http://${text}`;
  const url = URL.canParse(full) ? new URL(full) : null;
  const kind = url?.protocol.replace(/h?:$/, '');
  if (url === null || (kind !== 'http' && kind !== 'https' && kind !== 'socks5') || url.hostname === '') {
    throw new AppError('CONFIG_INVALID', `${place} is no address of a proxy`, {
      data: { advice: 'it looks like http://proxy.example:3128, https://… or socks5://…' },
    });
  }
  const user = url.username === '' ? null : { name: decode(url.username), password: decode(url.password) };
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { kind, host, port: url.port === '' ? DEFAULT_PORTS[kind] : Number(url.port), user };
}

/** As the agents of the Kubernetes library want it. A SOCKS proxy resolves names itself: it may know those we do not. */
export function proxyAddressText({ kind, host, port, user }: ProxyAddress): string {
  const login = user === null ? '' : `${encodeURIComponent(user.name)}:${encodeURIComponent(user.password)}@`;
  return `${kind === 'socks5' ? 'socks5h' : kind}://${login}${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** null for a server that is reached directly. As in Go, loopback never goes through a proxy of the environment. */
export function proxyFromEnvironment(server: URL, env: NodeJS.ProcessEnv): ProxyAddress | null {
  const names = server.protocol === 'https:' ? ['HTTPS_PROXY', 'https_proxy'] : ['HTTP_PROXY', 'http_proxy'];
  const name = names.find((candidate) => env[candidate]);
  if (name === undefined) return null;
  const host = server.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = server.port || (server.protocol === 'https:' ? '443' : '80');
  if (isLoopback(host)) return null;
  const exceptions = (env['NO_PROXY'] || env['no_proxy'] || '').split(',').map((entry) => entry.trim().toLowerCase());
  if (exceptions.some((exception) => excepts(exception, host, port))) return null;
  return parseProxy(env[name] ?? '', name);
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** `*`, `name` and everything below it, `.name` for only what is below, an address, a CIDR; each with `:port`. */
function excepts(exception: string, host: string, port: string): boolean {
  if (exception === '') return false;
  if (exception === '*') return true;
  if (exception.includes('/')) return isInBlock(exception, host);
  const withPort = /^\[?([^\]]+?)\]?:(\d+)$/.exec(exception);
  const isBareIpv6 = isIP(exception) === 6;
  const name = (isBareIpv6 || withPort === null ? exception.replace(/^\[|\]$/g, '') : withPort[1]) ?? '';
  if (!isBareIpv6 && withPort !== null && withPort[2] !== port) return false;
  if (isIP(host) !== 0 || isIP(name) !== 0) return name === host;
  const below = name.replace(/^\*?\.?/, '.');
  return host.endsWith(below) || (host === name && !name.startsWith('.'));
}

function isInBlock(block: string, host: string): boolean {
  const [network = '', prefix = ''] = block.split('/');
  const family = isIP(network);
  const bits = Number(prefix);
  if (family === 0 || isIP(host) !== family || !/^\d+$/.test(prefix) || bits > (family === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  const type = family === 4 ? 'ipv4' : 'ipv6';
  list.addSubnet(network, bits, type);
  return list.check(host, type);
}
