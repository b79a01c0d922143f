// A datagram socket of the target's network to one name server, shared by the questions of the local process: each goes
// out under an id of its own, and an answer finds its asker by id and question.
//
// A question that nobody answers is dropped after LOST_MS: the asker's own time-out is shorter.

import { randomInt } from 'node:crypto';
import { ReceiveCredit } from '#proto/credits.ts';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { InternetAddress } from '#proto/socket-address.ts';
import { WireTransport } from '#proto/wire.ts';
import type { NetworkSession } from '../session.ts';
import { AgentConnection, type ConnectionHandlers } from './agent-connection.ts';
import { readAnswer, readQuery, withId } from './dns-message.ts';
import type { Uplink } from './uplink.ts';

export interface DnsAsker {
  /** Under the id of the query it gave. */
  onAnswer(answer: Buffer): void;
  onError(error: AppError): void;
}

interface Pending {
  readonly asker: DnsAsker;
  readonly id: number;
  /** null for a query that is none we could read. */
  readonly question: string | null;
  readonly sentMs: number;
}

export interface UpstreamOptions {
  readonly session: NetworkSession;
  readonly uplink: Uplink;
  readonly server: InternetAddress;
  readonly now: () => number;
  readonly onEnd: () => void;
}

const LOST_MS = 30_000;
/** A name server behind a balancer that has died is silent on this socket and answers on another. */
const SILENT_MS = 2_000;
/** Of one server; more is a program that asks faster than anybody answers. */
const MAX_PENDING = 4_096;

export class DnsUpstream implements ConnectionHandlers {
  readonly #options: UpstreamOptions;
  readonly #pending = new Map<number, Pending>();
  #connection: AgentConnection | null = null;
  #credit: ReceiveCredit | null = null;
  #heardMs = Number.NEGATIVE_INFINITY;
  #isRetired = false;

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** Something was asked a while ago, and nothing has been heard since. */
  get isSilent(): boolean {
    const [oldest] = this.#pending.values();
    if (oldest === undefined || oldest.sentMs <= this.#heardMs) return false;
    return this.#options.now() - oldest.sentMs > SILENT_MS;
  }

  get pending(): number {
    return this.#pending.size;
  }

  ask(query: Buffer, asker: DnsAsker): void {
    const { lost } = this.#options.session;
    if (lost !== null) {
      asker.onError(new AppError(lost.code, lost.message, { errno: ERRNO.ENETDOWN, cause: lost }));
      return;
    }
    this.#dropLost();
    const id = this.#takeId();
    if (id === null || query.length < 2) return;
    const question = readQuery(query);
    this.#pending.set(id, {
      asker,
      id: query.readUInt16BE(0),
      question: question === null ? null : questionText(question),
      sentMs: this.#options.now(),
    });
    const own = withId(query, id);
    if (this.#connection !== null) this.#connection.send(own);
    else {
      const { session, uplink, server } = this.#options;
      const dial = { session, uplink, transport: WireTransport.UDP, peer: server, firstData: own };
      this.#connection = new AgentConnection(dial, this);
    }
  }

  /** No more questions come; ends when the last is answered or given up. */
  retire(): void {
    this.#isRetired = true;
    this.#endWhenDone();
  }

  /** Questions are forgotten. */
  close(): void {
    this.#pending.clear();
    this.#connection?.reset();
    this.#connection = null;
  }

  onConnected(_local: unknown, _peer: unknown, creditBytes: number): void {
    this.#credit = new ReceiveCredit(creditBytes);
  }

  onData(data: Uint8Array): void {
    this.#credit?.received(data.length);
    this.#connection?.grant(this.#credit?.consumed(data.length) ?? 0);
    if (data.length < 2) return;
    const answer = Buffer.from(data);
    const pending = this.#pending.get(answer.readUInt16BE(0));
    if (pending === undefined) return;
    const parsed = readAnswer(answer);
    // RFC 5452 section 9.1: another question's answer is a forgery or a mistake. A server may leave it out of an error.
    if (parsed !== null && pending.question !== null && questionText(parsed) !== pending.question) return;
    this.#heardMs = this.#options.now();
    this.#pending.delete(answer.readUInt16BE(0));
    answer.writeUInt16BE(pending.id, 0);
    pending.asker.onAnswer(answer);
    this.#endWhenDone();
  }

  onHalfClose(): void {
    // The answer to ours.
  }

  onError(error: AppError): void {
    this.#fail(error);
  }

  onSent(): void {
    // UDP has no flow control here: questions are small and bounded in number.
  }

  onEnd(error: AppError | null): void {
    this.#connection = null;
    // Idle: the next question opens another socket.
    if (error !== null && error.code !== 'DEADLINE_EXCEEDED') this.#fail(error);
    this.#pending.clear();
    this.#options.onEnd();
  }

  #fail(error: AppError): void {
    const errno = error.errno === 0 ? ERRNO.ENETDOWN : error.errno;
    const failure = new AppError(error.code, error.message, { errno, cause: error });
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { asker } of pending) asker.onError(failure);
  }

  #dropLost(): void {
    const beforeMs = this.#options.now() - LOST_MS;
    for (const [id, { sentMs }] of this.#pending) {
      if (sentMs > beforeMs) return;
      this.#pending.delete(id);
    }
  }

  #takeId(): number | null {
    if (this.#pending.size >= MAX_PENDING) return null;
    for (;;) {
      const id = randomInt(65_536);
      if (!this.#pending.has(id)) return id;
    }
  }

  #endWhenDone(): void {
    if (!this.#isRetired || this.#pending.size > 0) return;
    this.#connection?.end();
  }
}

function questionText({ name, type, class: of }: { name: string; type: number; class: number }): string {
  return `${name} ${type} ${of}`;
}
