// The serving end of one attempt: its two calls, accepted or refused, and what they carry.

import type { OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { CallConnection } from '#proto/call-connection.ts';
import type { OnPayload } from '#proto/call-state.ts';
import type { Carrier, CarrierOwner } from '#proto/carrier.ts';
import { AppError } from '#proto/errors.ts';
import type { Frame } from '#proto/frame.ts';
import { type Message, MessageReader, MessageWriter } from '#proto/grpc-message.ts';
import { CONTENT_TYPE, statusHeaders } from '#proto/grpc-status.ts';
import { PROOF_KEY } from '#proto/grpc-tuning.ts';
import type { BulkTaker } from '#proto/sockets/bulk-delivery.ts';
import type { BulkOrder } from '#proto/sockets/bulk-order.ts';
import type { Connections } from './connections.ts';

/** One call of a peer: accepted, then ended with a status; or refused. */
export class Call {
  readonly stream: ServerHttp2Stream;
  /** Its DATA. */
  readonly connection: CallConnection;
  readonly #connections: Connections;
  #status: AppError | null = null;
  #proof = '';

  constructor(stream: ServerHttp2Stream, connection: CallConnection, connections: Connections) {
    this.stream = stream;
    this.connection = connection;
    this.#connections = connections;
  }

  /** It has said who it is; `proof` tells it who we are. */
  admitted(proof: string): void {
    this.#proof = proof;
    this.#connections.admitted(this.stream);
  }

  accept(answer: OutgoingHttpHeaders): void {
    if (this.stream.destroyed) return;
    this.stream.once('wantTrailers', () => this.stream.sendTrailers(statusHeaders(this.#status)));
    const headers = { ':status': 200, 'content-type': CONTENT_TYPE, [PROOF_KEY]: this.#proof, ...answer };
    this.stream.respond(headers, { waitForTrailers: true });
  }

  claim(onPayload: OnPayload, taker: BulkTaker | null = null): void {
    this.connection.claim(this.stream.id ?? 0, onPayload, taker);
  }

  end(): void {
    this.stream.end();
  }

  /** Cuts its connection at once. */
  drop(): void {
    this.stream.session?.destroy();
  }

  /** Ends the call with an error, and its connection soon after. */
  refuse(error: AppError): void {
    this.#connections.cut(this.stream);
    if (this.stream.destroyed) return;
    this.#status = error;
    if (this.stream.headersSent) {
      this.stream.end();
      return;
    }
    const headers = { ':status': 200, 'content-type': CONTENT_TYPE, ...statusHeaders(error) };
    this.stream.respond(headers, { endStream: true });
    this.stream.resume();
  }
}

/** The two calls of one session as the carrier of its frames. */
export class ServedCarrier implements Carrier {
  readonly #up: Call;
  readonly #down: Call;
  readonly #writer: MessageWriter;
  #owner: CarrierOwner | null = null;

  constructor(up: Call, down: Call) {
    this.#up = up;
    this.#down = down;
    const { connection, stream } = down;
    this.#writer = new MessageWriter(connection, stream, stream.id ?? 0, () => this.#owner?.transportDrained());
  }

  /** Answers the calls; before anything is written. */
  accept(answer: OutgoingHttpHeaders): void {
    for (const call of [this.#up, this.#down]) call.accept(answer);
  }

  attach(owner: CarrierOwner): void {
    this.#owner = owner;
    for (const { stream } of [this.#up, this.#down]) {
      if (stream.closed || stream.destroyed) setImmediate(() => owner.transportEnded(null));
      else stream.once('close', () => owner.transportEnded(null));
    }
    const reader = new MessageReader((batch, lease) => owner.receive(batch, lease));
    this.#up.stream.once('end', () => owner.peerEnded());
    const push: OnPayload = (payload, block) => {
      try {
        return reader.push(payload, block);
      } catch (error) {
        owner.failed(AppError.from(error, 'BUG'));
        return false;
      }
    };
    this.#up.claim(push, {
      offer: (delivery) => reader.isBetween && owner.offer(delivery),
      delivered: (delivery) => owner.delivered(delivery),
    });
    this.#down.claim(() => true);
    this.#up.stream.resume();
    this.#down.stream.resume();
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
    this.#writer.end(() => this.#down.end());
    this.#up.end();
  }

  destroy(error: AppError | null): void {
    const reason = error ?? new AppError('CANCELLED', 'the session was cut');
    this.#up.refuse(reason);
    this.#writer.end(() => this.#down.refuse(reason));
  }

  depart(lastWord: Message, error: AppError): void {
    this.#writer.writeMessage(lastWord);
    this.destroy(error);
  }

  drop(): void {
    for (const call of [this.#up, this.#down]) call.drop();
  }
}
