// Where requests of one client connection go to: the target, and each session's local process, connected when it is needed.

import type { Taker } from './decision.ts';
import type { Endpoint } from './endpoint.ts';
import { type Asked, Side } from './side.ts';

export type SideEvents = Readonly<{
  onData: (side: Side, bytes: Buffer) => void;
  /** Its FIN, or its failure. */
  onOver: (side: Side, isFailure: boolean) => void;
  onDrain: (side: Side) => void;
}>;

export class Sides {
  readonly #connectOrigin: () => Endpoint;
  readonly #asked: readonly Asked[];
  readonly #events: SideEvents;
  readonly #taken = new Map<Taker, Side>();
  #origin: Side;

  /** @param asked the requests in flight, the eldest first */
  constructor(connectOrigin: () => Endpoint, asked: readonly Asked[], events: SideEvents) {
    this.#connectOrigin = connectOrigin;
    this.#asked = asked;
    this.#events = events;
    this.#origin = this.#open(connectOrigin());
  }

  get origin(): Side {
    return this.#origin;
  }

  /** The target's side; connected again when the target closed it while only sessions were asked. */
  freshOrigin(): Side {
    if (this.#origin.isOver) this.#origin = this.#open(this.#connectOrigin());
    return this.#origin;
  }

  /** A session's, if it has been asked. */
  get(taker: Taker): Side | undefined {
    return this.#taken.get(taker);
  }

  of(taker: Taker): Side {
    const side = this.#taken.get(taker) ?? this.#open(taker.open(true), taker);
    this.#taken.set(taker, side);
    return side;
  }

  /** Nothing of it is wanted any more; a session's next request comes on another connection. */
  leave(side: Side): void {
    side.isOver = true;
    if (side.taker === undefined) return;
    this.#taken.delete(side.taker);
    side.close(false);
  }

  close(isFailure: boolean, isTorn: boolean | undefined): void {
    for (const side of [this.#origin, ...this.#taken.values()]) side.close(isFailure, isTorn);
  }

  #open(endpoint: Endpoint, taker?: Taker): Side {
    const side = new Side(endpoint, taker, this.#asked);
    endpoint.listen({
      onData: (bytes) => this.#events.onData(side, bytes),
      onEnd: () => this.#events.onOver(side, false),
      onDrain: () => this.#events.onDrain(side),
      onClosed: (error) => this.#events.onOver(side, error !== undefined),
    });
    return side;
  }
}
