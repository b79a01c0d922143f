// Names that stay on this machine: its /etc/hosts, then its name servers, asked as the asker does, by datagram or stream. Reads both files
// anew for each question, as resolvers do in effect: networks of laptops come and go.

import dgram from 'node:dgram';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { formatIp, type InternetAddress } from '#proto/socket-address.ts';
import { buildAnswer, DNS_TYPE, type DnsQuery, readAnswer, withId } from './dns-message.ts';
import { Messages, prefixed } from './dns-stream.ts';
import { parseHosts, parseResolvConf } from './resolver-files.ts';

export interface LocalResolverOptions {
  readonly resolvConfFile?: string;
  readonly hostsFile?: string;
  /** Of one server, before the next is asked. */
  readonly serverDeadlineMs?: number;
  /** In place of those of the file. */
  readonly servers?: readonly InternetAddress[];
}

/** RES_TIMEOUT of glibc. */
const SERVER_DEADLINE_MS = 5_000;
/** Entries of /etc/hosts have no time of their own. */
const HOSTS_TTL_SECONDS = 5;

export class LocalResolver {
  readonly #options: LocalResolverOptions;

  constructor(options: LocalResolverOptions = {}) {
    this.#options = options;
  }

  /** null when no server answers: the asker's time-out says so. `by`: how it was asked, and asks on. */
  async ask(query: Buffer, parsed: DnsQuery, by: 'udp' | 'tcp' = 'udp'): Promise<Buffer | null> {
    const found = this.#fromHosts(query, parsed);
    if (found !== null) return found;
    const deadlineMs = this.#options.serverDeadlineMs ?? SERVER_DEADLINE_MS;
    for (const server of this.#servers()) {
      const answer = await (by === 'udp' ? askServer : askServerByStream)(query, server, deadlineMs);
      if (answer !== null) return answer;
    }
    return null;
  }

  #servers(): readonly InternetAddress[] {
    if (this.#options.servers !== undefined) return this.#options.servers;
    return parseResolvConf(readText(this.#options.resolvConfFile ?? '/etc/resolv.conf')).nameServers;
  }

  #fromHosts(query: Buffer, parsed: DnsQuery): Buffer | null {
    const length = parsed.type === DNS_TYPE.A ? 4 : parsed.type === DNS_TYPE.AAAA ? 16 : 0;
    if (length === 0) return null;
    const ips = parseHosts(readText(this.#options.hostsFile ?? '/etc/hosts')).get(parsed.name);
    if (ips === undefined) return null;
    const fitting = ips.filter((ip) => ip.length === length);
    return buildAnswer(query, parsed, fitting, HOSTS_TTL_SECONDS);
  }
}

function askServer(query: Buffer, server: InternetAddress, deadlineMs: number): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const socket = dgram.createSocket(server.ip.length === 4 ? 'udp4' : 'udp6');
    const done = (answer: Buffer | null) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => done(null), deadlineMs);
    // A question that nobody waits for any more must not keep the client.
    timer.unref();
    socket.unref();
    socket.on('error', () => done(null));
    socket.on('message', (data) => {
      const isOurs = data.length >= 2 && data.readUInt16BE(0) === query.readUInt16BE(0);
      if (isOurs && readAnswer(data) !== null) done(withId(data, query.readUInt16BE(0)));
    });
    socket.connect(server.port, formatIp(server.ip), (error?: Error) => {
      if (error) done(null);
      else socket.send(query);
    });
  });
}

function askServerByStream(query: Buffer, server: InternetAddress, deadlineMs: number): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const messages = new Messages();
    const socket = net.connect({ host: formatIp(server.ip), port: server.port, noDelay: true });
    const done = (answer: Buffer | null) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done(null), deadlineMs);
    timer.unref();
    socket.unref();
    socket.on('error', () => done(null));
    socket.on('close', () => done(null));
    socket.on('data', (data) => {
      const [answer] = messages.push(data);
      if (answer !== undefined) done(readAnswer(answer.subarray(2)) === null ? null : answer.subarray(2));
    });
    socket.write(prefixed(query));
  });
}

export function localNameServers(file = '/etc/resolv.conf'): readonly InternetAddress[] {
  return parseResolvConf(readText(file)).nameServers;
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // A machine without the file has nothing to say; resolvers go on with defaults.
    return '';
  }
}
