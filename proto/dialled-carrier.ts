// One attempt of the dialling end: two calls on two connections, made and lost together.

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { OnPayload } from './call-state.ts';
import type { Carrier, CarrierOwner } from './carrier.ts';
import { CALL_ID, Call, type CallOptions, type Peer, type Verdict } from './dial-call.ts';
import { AppError } from './errors.ts';
import type { Frame } from './frame.ts';
import { type Message, MessageReader, MessageWriter } from './grpc-message.ts';
import { GRACE_KEY, RECEIVED_KEY, readCount } from './grpc-tuning.ts';
import type { BulkOrder } from './sockets/bulk-order.ts';

/** What the peer made of an attempt. */
export type Answer =
  /** Without `graceMs` the peer does no renewal. */
  | { readonly kind: 'accepted'; readonly graceMs: number | null; readonly received: number }
  /** By its own word: no use in another try. */
  | { readonly kind: 'refused'; readonly error: AppError }
  | { readonly kind: 'failed'; readonly error: AppError };

/** For a last word to leave before the connection is cut. */
const LAST_WORD_MS = 500;

export class DialledCarrier implements Carrier {
  readonly #up: Call;
  readonly #down: Call;
  readonly #writer: MessageWriter;
  readonly #peer: Peer;
  #owner: CarrierOwner | null = null;
  #settleAnswer: ((answer: Answer) => void) | null = null;
  #answer: Answer | null = null;
  #acceptedCalls = 0;
  #endedCalls = 0;
  #firstFault: Verdict | null = null;
  #end: Verdict | null = null;

  constructor(options: CallOptions, peer: Peer, headers: OutgoingHttpHeaders, sockets: readonly [Duplex, Duplex]) {
    this.#peer = peer;
    const call = (direction: 'up' | 'down', socket: Duplex) =>
      new Call({
        options,
        peer,
        direction,
        headers,
        socket,
        onAccepted: (answer) => this.#onAccepted(answer),
        onEnded: (verdict) => this.#onEnded(verdict),
      });
    this.#up = call('up', sockets[0]);
    this.#down = call('down', sockets[1]);
    const { connection, stream } = this.#up;
    this.#writer = new MessageWriter(connection, stream, CALL_ID, () => this.#owner?.transportDrained());
    connection.claim(CALL_ID, () => true);
    stream.resume();
  }

  /** Never rejects. An attempt that has no answer in time has failed; it is the caller's to drop. */
  answered(deadlineMs: number): Promise<Answer> {
    if (this.#answer !== null) return Promise.resolve(this.#answer);
    return new Promise((resolve) => {
      const { name, address } = this.#peer;
      const late = `no answer from the ${name} at ${address} within ${deadlineMs} ms`;
      const timer = setTimeout(() => {
        this.#settle({ kind: 'failed', error: new AppError('DEADLINE_EXCEEDED', late) });
      }, deadlineMs);
      this.#settleAnswer = (answer) => {
        clearTimeout(timer);
        resolve(answer);
      };
    });
  }

  /** Reads in a later turn of the loop, so that who awaits the session holds it before its first frame. */
  attach(owner: CarrierOwner): void {
    this.#owner = owner;
    if (this.#answer?.kind === 'accepted') this.#startReading();
  }

  write(batch: readonly Frame[]): boolean {
    return this.#writer.write(batch);
  }

  writeMessage(message: Message): boolean {
    return this.#writer.writeMessage(message);
  }

  carry(order: BulkOrder): boolean {
    return this.#writer.carry(order);
  }

  end(): void {
    this.#writer.end(() => this.#up.stream.end());
  }

  destroy(): void {
    this.drop();
  }

  depart(lastWord: Message): void {
    this.#writer.writeMessage(lastWord);
    if (this.#up.stream.destroyed) this.drop();
    else this.#writer.end(() => this.#up.stream.end(() => setImmediate(() => this.drop())));
    setTimeout(() => this.drop(), LAST_WORD_MS).unref();
  }

  drop(): void {
    this.#settle({ kind: 'failed', error: new AppError('CANCELLED', 'the attempt was given up') });
    this.#up.cut();
    this.#down.cut();
  }

  #startReading(): void {
    const reader = new MessageReader((batch, lease) => this.#owner?.receive(batch, lease) ?? false);
    setImmediate(() => {
      const push: OnPayload = (payload, block) => {
        try {
          return reader.push(payload, block);
        } catch (error) {
          this.#owner?.failed(AppError.from(error, 'BUG'));
          return false;
        }
      };
      this.#down.connection.claim(CALL_ID, push, {
        offer: (delivery) => reader.isBetween && this.#owner?.offer(delivery) === true,
        delivered: (delivery) => this.#owner?.delivered(delivery),
      });
      this.#down.stream.resume();
      this.#tellEnd();
    });
  }

  #onAccepted(headers: IncomingHttpHeaders): void {
    this.#acceptedCalls += 1;
    if (this.#acceptedCalls < 2) return;
    const graceMs = readCount(headers[GRACE_KEY]);
    this.#settle({ kind: 'accepted', graceMs, received: readCount(headers[RECEIVED_KEY]) ?? 0 });
    if (this.#owner !== null && this.#answer?.kind === 'accepted') this.#startReading();
  }

  #settle(answer: Answer): void {
    if (this.#answer !== null) return;
    this.#answer = answer;
    this.#settleAnswer?.(answer);
  }

  /** A call that ended in order waits for the other; one that broke takes it along. */
  #onEnded(verdict: Verdict): void {
    if (verdict.error !== null) this.#firstFault ??= verdict;
    this.#endedCalls += 1;
    if ((verdict.error === null && this.#endedCalls < 2) || this.#end !== null) return;
    this.#end = this.#firstFault ?? verdict;
    const { error, isFinal } = this.#end;
    const { name, lostCode } = this.#peer;
    const reason = error ?? new AppError(lostCode, `the ${name} closed before it accepted`);
    this.#settle({ kind: isFinal ? 'refused' : 'failed', error: reason });
    this.#tellEnd();
    this.drop();
  }

  #tellEnd(): void {
    if (this.#end === null || this.#owner === null || this.#answer?.kind !== 'accepted') return;
    const { error, isFinal } = this.#end;
    if (error !== null && isFinal) this.#owner.refused(error);
    else this.#owner.transportEnded(error);
  }
}
