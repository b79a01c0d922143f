// The traffic of subscribed ports as events for people and programs: connections, and in them requests and responses of
// HTTP/1 or plain bytes. Pure but for the clock it is given.

import { type Arrived, type Ended, EndReason, type Gap } from '#proto/gen/v1/incoming.ts';
import { addressText, fromSocketAddress } from '#proto/socket-address.ts';
import { reasonText } from '../incoming/tally.ts';
import { HttpDirection, type HttpHead, type HttpPart } from './dump-http.ts';

export type Side = 'request' | 'response';

export type DumpEvent =
  | { event: 'opened'; connection: number; at: string; from: string; to: string; interface: string; isOlder: boolean }
  | { event: 'head'; connection: number; request: number; of: Side; head: HttpHead; afterMs: number | null }
  | { event: 'body'; connection: number; request: number; of: Side; data: Buffer }
  | { event: 'finished'; connection: number; request: number; of: Side; bodyBytes: number }
  | { event: 'data'; connection: number; of: Side; data: Buffer }
  | { event: 'gap'; connection: number; of: Side; bytes: number; why: string }
  | { event: 'closed'; connection: number; how: string; bytes: number; lostBytes: number; tookMs: number };

const HOW: Readonly<Record<number, string>> = {
  [EndReason.END_REASON_CLOSED]: 'closed',
  [EndReason.END_REASON_PEER_RESET]: 'reset by the peer',
  [EndReason.END_REASON_TARGET_RESET]: 'reset by the target',
  [EndReason.END_REASON_IDLE]: 'quiet for too long',
  [EndReason.END_REASON_TARGET_GONE]: 'the target has ended',
  [EndReason.END_REASON_SERVICE_LOST]: 'the sniffer was lost',
};

interface Waiting {
  readonly request: number;
  readonly method: string;
  readonly sinceMs: number;
}

export class ConnectionView {
  readonly #connection: number;
  readonly #now: () => number;
  readonly #emit: (event: DumpEvent) => void;
  readonly #startedNs: bigint;
  readonly #directions: Readonly<Record<Side, HttpDirection>>;
  /** Requests that have no answer yet, in their order. */
  readonly #waiting: Waiting[] = [];
  /** Those whose answer has been read and not shown. */
  readonly #answered: Waiting[] = [];
  readonly #current: Record<Side, number> = { request: 0, response: 0 };

  constructor(connection: number, arrived: Arrived, emit: (event: DumpEvent) => void, now: () => number) {
    this.#connection = connection;
    this.#emit = emit;
    this.#now = now;
    this.#startedNs = arrived.atNs;
    this.#directions = {
      request: new HttpDirection(false),
      response: new HttpDirection(true, () => this.#answer()),
    };
    const [from, to] = [fromSocketAddress(arrived.peer), fromSocketAddress(arrived.local)];
    emit({
      event: 'opened',
      connection,
      at: new Date(Number(arrived.atNs / 1_000_000n)).toISOString(),
      from: from === null ? '' : addressText(from),
      to: to === null ? '' : addressText(to),
      interface: arrived.interface,
      isOlder: arrived.isOlder,
    });
  }

  data(of: Side, data: Uint8Array): void {
    this.#show(of, this.#directions[of].push(data));
  }

  halfClose(of: Side): void {
    this.#show(of, this.#directions[of].end());
  }

  gap(gap: Gap): void {
    const of = gap.isAnswer ? 'response' : 'request';
    this.halfClose(of);
    this.#emit({
      event: 'gap',
      connection: this.#connection,
      of,
      bytes: Number(gap.bytes),
      why: reasonText(gap.reason),
    });
  }

  end(ended: Ended): void {
    this.halfClose('request');
    this.halfClose('response');
    const tookNs = ended.atNs > this.#startedNs ? ended.atNs - this.#startedNs : 0n;
    this.#emit({
      event: 'closed',
      connection: this.#connection,
      how: HOW[ended.reason] ?? 'ended',
      bytes: Number(ended.bytes),
      lostBytes: Number(ended.lostBytes),
      tookMs: Number(tookNs / 10_000n) / 100,
    });
  }

  #show(of: Side, parts: readonly HttpPart[]): void {
    const connection = this.#connection;
    for (const part of parts) {
      switch (part.kind) {
        case 'head':
          this.#head(of, part.head);
          break;
        case 'body':
          this.#emit({ event: 'body', connection, request: this.#current[of], of, data: part.data });
          break;
        case 'finished':
          this.#emit({ event: 'finished', connection, request: this.#current[of], of, bodyBytes: part.bodyBytes });
          break;
        case 'bytes':
          this.#emit({ event: 'data', connection, of, data: part.data });
      }
    }
  }

  #head(of: Side, head: HttpHead): void {
    let afterMs: number | null = null;
    if (of === 'request') {
      this.#current.request += 1;
      const method = head.firstLine.split(' ')[0] ?? '';
      this.#waiting.push({ request: this.#current.request, method, sinceMs: this.#now() });
    } else {
      // A final response took its request when it was read; of an interim one the request still waits.
      const answered = isFinal(head) ? this.#answered.shift() : this.#waiting[0];
      this.#current.response = answered?.request ?? this.#current.response;
      afterMs = answered === undefined ? null : Math.max(0, Math.round((this.#now() - answered.sinceMs) * 100) / 100);
    }
    this.#emit({ event: 'head', connection: this.#connection, request: this.#current[of], of, head, afterMs });
  }

  /** The method that a final response answers. */
  #answer(): string {
    const waiting = this.#waiting.shift() ?? { request: this.#current.response + 1, method: '', sinceMs: this.#now() };
    this.#answered.push(waiting);
    return waiting.method;
  }
}

function isFinal({ firstLine }: HttpHead): boolean {
  const status = Number(firstLine.split(' ')[1]);
  return status >= 200;
}
