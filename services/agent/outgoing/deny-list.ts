// Addresses that no session reaches unless the agent's owner grants them: what answers there trusts whoever can reach it,
// and gives out the node's credentials. Pure.
//
// Port 53 is always open: resolv.conf names link-local resolvers (169.254.20.10 of the node-local cache, 169.254.169.253
// and 169.254.169.254 of clouds), and a name is no secret.

import { AppError } from '#proto/errors.ts';
import { endpointText, type InternetEndpoint, parseIp, toMapped } from './address.ts';

export interface DenyListSettings {
  /** As `parseGrant` takes them. */
  readonly allow: readonly string[];
  /** Of the node, on which its kubelet and container runtime listen. */
  readonly nodeAddresses: readonly string[];
  /** The target lives in the node's own network namespace: there the kubelet is on loopback too. */
  readonly isNodeNetwork: boolean;
}

/** In the space of `toMapped`. */
interface Prefix {
  readonly network: Buffer;
  readonly bits: number;
}

interface Rule {
  readonly name: string;
  readonly prefix: Prefix;
  /** null: every port but 53. */
  readonly ports: readonly number[] | null;
}

/** An exception to the rules. `path` is of a unix socket. */
type Grant = { readonly prefix: Prefix; readonly port: number | null } | { readonly path: string };

const DNS_PORT = 53;
/** Kubelet (API, read-only API) and Docker (plain, TLS). containerd and CRI-O listen on unix sockets only. */
const NODE_PORTS = [10_250, 10_255, 2_375, 2_376];
/** As their servers bind them: getpeername(2) tells, wherever the socket is mounted in the target. */
const RUNTIME_SOCKETS =
  /^(\/var)?\/run\/(docker|docker\/(containerd\/)?(containerd|docker)|containerd\/containerd|crio\/crio|k3s\/containerd\/containerd|k0s\/containerd|podman\/podman|cri-dockerd|dockershim|kubelet)\.sock$/;
/** RFC 6052: an IPv4 address behind a NAT64 gateway. */
const NAT64_PREFIX = Buffer.from('0064ff9b0000000000000000', 'hex');

export class DenyList {
  readonly #rules: readonly Rule[];
  readonly #grants: readonly Grant[];

  constructor(settings: DenyListSettings) {
    this.#grants = settings.allow.map(parseGrant);
    const nodeAddresses = [...settings.nodeAddresses, ...(settings.isNodeNetwork ? ['127.0.0.0/8', '::1'] : [])];
    this.#rules = [
      { name: 'cloud metadata', prefix: parsePrefix('169.254.169.254'), ports: null },
      { name: 'cloud metadata', prefix: parsePrefix('fd00:ec2::254'), ports: null },
      { name: 'link-local addresses', prefix: parsePrefix('169.254.0.0/16'), ports: null },
      { name: 'link-local addresses', prefix: parsePrefix('fe80::/10'), ports: null },
      ...nodeAddresses.map((address) => ({
        name: 'kubelet and container runtime of the node',
        prefix: parsePrefix(address),
        ports: NODE_PORTS,
      })),
    ];
  }

  /** Throws NOT_PERMITTED with EACCES and the name of the rule. */
  assertInternet(endpoint: InternetEndpoint): void {
    for (const mapped of meanings(endpoint.ip)) {
      const rule = this.#rules.find(({ prefix, ports }) => {
        const isPort = ports === null ? endpoint.port !== DNS_PORT : ports.includes(endpoint.port);
        return isPort && covers(prefix, mapped);
      });
      if (rule === undefined || this.#isGranted(mapped, endpoint.port)) continue;
      throw refusal(endpointText(endpoint), rule.name);
    }
  }

  /** `path` as asked for, or as the server has bound it. */
  assertUnix(path: Uint8Array): void {
    const text = Buffer.from(path).toString('latin1').replace(/\/+/g, '/');
    if (!RUNTIME_SOCKETS.test(text)) return;
    if (this.#grants.some((grant) => 'path' in grant && grant.path === text)) return;
    throw refusal(text, 'container runtime of the node');
  }

  #isGranted(mapped: Buffer, port: number): boolean {
    return this.#grants.some(
      (grant) => 'prefix' in grant && (grant.port === null || grant.port === port) && covers(grant.prefix, mapped),
    );
  }
}

/** `ADDRESS`, `ADDRESS/BITS`, either with `:PORT` (IPv6 then in brackets), or a path. Throws CONFIG_INVALID. */
export function parseGrant(text: string): Grant {
  if (text.startsWith('/')) return { path: text };
  const match = /^(?:\[([^\]]+)\](\/\d+)?|([^[\]:]+)|([^[\]]*:[^[\]]*:[^[\]]*))(?::(\d{1,5}))?$/.exec(text);
  const address = match?.[1] === undefined ? (match?.[3] ?? match?.[4]) : `${match[1]}${match[2] ?? ''}`;
  const port = match?.[5] === undefined ? null : Number(match[5]);
  if (address === undefined || (port !== null && port > 65_535)) throw notAnAddress(text);
  return { prefix: parsePrefix(address), port };
}

function parsePrefix(text: string): Prefix {
  const [address = '', bitsText] = text.split('/');
  const ip = parseIp(address);
  if (ip === null || address.includes('%')) throw notAnAddress(text);
  const width = ip.length * 8;
  const bits = bitsText === undefined ? width : Number(bitsText);
  if (!/^\d*$/.test(bitsText ?? '') || bitsText === '' || bits > width) throw notAnAddress(text);
  return { network: toMapped(ip), bits: 128 - width + bits };
}

/** Every address that a packet to this one may end at. */
function meanings(ip: Uint8Array): Buffer[] {
  const mapped = toMapped(ip);
  if (ip.every((byte) => byte === 0)) {
    // connect(2) to the unspecified address goes to loopback.
    return [toMapped(Buffer.from([127, 0, 0, 1])), toMapped(Buffer.from('00000000000000000000000000000001', 'hex'))];
  }
  if (mapped.subarray(0, 12).equals(NAT64_PREFIX)) return [mapped, toMapped(mapped.subarray(12))];
  return [mapped];
}

function covers({ network, bits }: Prefix, ip: Buffer): boolean {
  const whole = bits >> 3;
  if (!ip.subarray(0, whole).equals(network.subarray(0, whole))) return false;
  const mask = 0xff00 >> (bits & 7);
  return ((ip[whole] ?? 0) & mask & 0xff) === ((network[whole] ?? 0) & mask & 0xff);
}

function refusal(what: string, rule: string): AppError {
  const message = `the agent keeps sessions from ${what} (${rule}); its setting MIRRORD_OUTGOING_ALLOW grants it`;
  return new AppError('NOT_PERMITTED', message, { errno: 13 });
}

function notAnAddress(text: string): AppError {
  return new AppError('CONFIG_INVALID', `${JSON.stringify(text)} is no address, address/bits, address:port or path`);
}
