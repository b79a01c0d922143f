// What the local process asks of name servers: answered from what is known, by this machine for names that stay here, else
// by the target's name server, byte for byte. Remembers which addresses belong to which names.
//
// Time-outs stay time-outs, and errors of the server's kernel the errors of the asker's socket. A question that is asked
// twice within JOIN_MS goes out once.

import type { AppError } from '#proto/errors.ts';
import { type Address, addressText, type InternetAddress } from '#proto/socket-address.ts';
import type { NetworkSession } from '../session.ts';
import { type DnsCache, keyOf } from './dns-cache.ts';
import type { DnsFilter } from './dns-filter.ts';
import { answerFor, buildQuery, DNS_RCODE, DNS_TYPE, type DnsQuery, readAnswer, readQuery } from './dns-message.ts';
import { DnsStream } from './dns-stream.ts';
import { type DnsAsker, DnsUpstream } from './dns-upstream.ts';
import type { LocalResolver } from './local-resolver.ts';
import type { NameMemory } from './name-memory.ts';
import type { NetworkResolver } from './network.ts';
import type { StreamTap } from './stream-tap.ts';
import type { Uplink } from './uplink.ts';

export interface DnsRelayOptions {
  readonly session: NetworkSession;
  readonly uplink: Uplink;
  readonly filter: DnsFilter;
  readonly memory: NameMemory;
  readonly cache: DnsCache;
  readonly local: LocalResolver;
  readonly now?: () => number;
}

interface Asked {
  readonly sentMs: number;
  readonly waiters: Waiter[];
}

interface Waiter {
  readonly query: Buffer;
  readonly parsed: DnsQuery;
  readonly asker: DnsAsker;
}

const DNS_PORT = 53;
/** Longer, and the asker repeats itself because the first was lost. */
const JOIN_MS = 1_000;
const FORGOTTEN_MS = 30_000;
/** Of a name that a filter holds: as long as a resolver waits, with its second try. */
const LOOKUP_DEADLINE_MS = 10_000;

export class DnsRelay implements NetworkResolver {
  readonly #options: DnsRelayOptions;
  readonly #now: () => number;
  readonly #upstreams = new Map<string, DnsUpstream>();
  readonly #asked = new Map<string, Asked>();

  constructor(options: DnsRelayOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  serves(peer: Address): peer is InternetAddress {
    return peer.kind === 'internet' && peer.port === DNS_PORT;
  }

  query(
    query: Buffer,
    server: InternetAddress,
    onAnswer: (answer: Uint8Array) => void,
    onError: (error: AppError) => void,
  ): void {
    const asker = { onAnswer, onError };
    // Its piece of the chunk that it came in.
    const own = Buffer.from(query);
    const parsed = readQuery(own);
    if (parsed === null) this.#upstream(server).ask(own, asker);
    else if (this.#options.filter.decide(parsed.name).where === 'local')
      void this.#askHere(own, parsed, onAnswer, 'udp');
    else this.#askTarget({ query: own, parsed, asker }, server);
  }

  tap(peer: Address): StreamTap | null {
    if (!this.serves(peer)) return null;
    const { filter } = this.#options;
    const askHere = (query: Buffer, answer: (message: Buffer) => void) => {
      const parsed = readQuery(query);
      if (parsed === null || filter.decide(parsed.name).where !== 'local') return false;
      void this.#askHere(query, parsed, answer, 'tcp');
      return true;
    };
    return new DnsStream({
      learn: (message) => this.#learn(message),
      askHere: filter.hasLocalNames ? askHere : null,
    });
  }

  /** A and AAAA of a name in the target, for a filter. Rejects where the server does not answer or cannot. */
  async lookup(name: string, server: InternetAddress): Promise<Uint8Array[]> {
    const found = await Promise.all([DNS_TYPE.A, DNS_TYPE.AAAA].map((type) => this.#lookupType(name, type, server)));
    return found.flat();
  }

  close(): void {
    for (const upstream of this.#upstreams.values()) upstream.close();
    this.#upstreams.clear();
    this.#asked.clear();
  }

  async #askHere(
    query: Buffer,
    parsed: DnsQuery,
    onAnswer: (answer: Buffer) => void,
    by: 'udp' | 'tcp',
  ): Promise<void> {
    const answer = await this.#options.local.ask(query, parsed, by);
    if (answer === null) return;
    const known = readAnswer(answer);
    if (known !== null && isAddressType(known.type)) this.#options.memory.learn(known.name, known.addresses, 'local');
    onAnswer(answer);
  }

  #askTarget(waiter: Waiter, server: InternetAddress): void {
    const { query, parsed, asker } = waiter;
    const key = keyOf(server, parsed);
    const kept = key === null ? null : this.#options.cache.find(key, query, parsed);
    if (kept !== null) {
      asker.onAnswer(kept);
      return;
    }
    const asked = key === null ? undefined : this.#asked.get(key);
    if (asked !== undefined && this.#now() - asked.sentMs < JOIN_MS) {
      asked.waiters.push(waiter);
      return;
    }
    const question = { sentMs: this.#now(), waiters: [waiter] };
    if (key !== null) this.#remember(key, question);
    const settle = (tell: (one: Waiter) => void) => {
      if (key !== null && this.#asked.get(key) === question) this.#asked.delete(key);
      for (const one of question.waiters) tell(one);
    };
    this.#upstream(server).ask(query, {
      onAnswer: (answer) => {
        const known = this.#learn(answer);
        if (known !== null && key !== null) this.#options.cache.store(key, answer, known);
        settle((one) => one.asker.onAnswer(one === waiter ? answer : known === null ? answer : respell(answer, one)));
      },
      onError: (error) => settle((one) => one.asker.onError(error)),
    });
  }

  /** Those that were not answered go when later ones come: their askers have given up, or asked again. */
  #remember(key: string, asked: Asked): void {
    this.#asked.delete(key);
    this.#asked.set(key, asked);
    for (const [oldest, { sentMs }] of this.#asked) {
      if (asked.sentMs - sentMs < FORGOTTEN_MS) return;
      this.#asked.delete(oldest);
    }
  }

  #learn(answer: Uint8Array): ReturnType<typeof readAnswer> {
    const known = readAnswer(answer);
    const isFinal = known?.rcode === DNS_RCODE.NOERROR || known?.rcode === DNS_RCODE.NXDOMAIN;
    if (known !== null && isFinal && isAddressType(known.type)) {
      this.#options.memory.learn(known.name, known.addresses, 'remote');
    }
    return known;
  }

  #upstream(server: InternetAddress): DnsUpstream {
    const key = addressText(server);
    const present = this.#upstreams.get(key);
    if (present !== undefined && !present.isSilent) return present;
    present?.retire();
    const { session, uplink } = this.#options;
    const upstream: DnsUpstream = new DnsUpstream({
      session,
      uplink,
      server,
      now: this.#now,
      onEnd: () => {
        if (this.#upstreams.get(key) === upstream) this.#upstreams.delete(key);
      },
    });
    this.#upstreams.set(key, upstream);
    return upstream;
  }

  #lookupType(name: string, type: number, server: InternetAddress): Promise<Uint8Array[]> {
    const query = buildQuery(0, name, type);
    if (query === null) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name} was not looked up in time`)), LOOKUP_DEADLINE_MS);
      timer.unref();
      const done = (act: () => void) => {
        clearTimeout(timer);
        act();
      };
      const onAnswer = (answer: Uint8Array) => {
        const known = readAnswer(answer);
        const isFinal = known?.rcode === DNS_RCODE.NOERROR || known?.rcode === DNS_RCODE.NXDOMAIN;
        if (known !== null && isFinal) done(() => resolve([...known.addresses]));
        else done(() => reject(new Error(`the name server of the target cannot look up ${name}`)));
      };
      this.query(query, server, onAnswer, (error) => done(() => reject(error)));
    });
  }
}

function respell(answer: Buffer, { query, parsed }: Waiter): Buffer {
  return answerFor(answer, query, parsed.questionEnd);
}

function isAddressType(type: number): boolean {
  return type === DNS_TYPE.A || type === DNS_TYPE.AAAA;
}
