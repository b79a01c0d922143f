// Who gets a request: a session, or the target; or that its body has to be seen first.

import type { BodyLimits } from '#http-filter/http-filter.ts';
import type { RequestBody } from '#http-filter/request-body.ts';
import type { RequestHead } from '#runtime/http/message-head.ts';
import type { Endpoint } from './endpoint.ts';

/** Takes requests; one for each session that steals from the port. */
export interface Taker {
  /** It wants no more requests, those included that wait for their turn: they are the target's. */
  readonly isOver: boolean;
  /** How long its copy of the connection stays without a request, in ms; 0 or nothing: as long as the client's. */
  readonly idleMs?: number;
  /**
   * Opens the session's copy of this client connection.
   *
   * @param isForRequests one goes out when the former is answered: behind the local process's FIN nothing more is for it
   */
  open(isForRequests: boolean): Endpoint;
}

export class Undecided {
  readonly limits: BodyLimits;
  /** @param body null when it was not whole within the limits */
  readonly decide: (body: RequestBody | null) => Taker | undefined;

  constructor(limits: BodyLimits, decide: (body: RequestBody | null) => Taker | undefined) {
    this.limits = limits;
    this.decide = decide;
  }
}

/** undefined: the target. */
export type Decision = Taker | Undecided | undefined;

export type Decide = (head: RequestHead, start: number) => Decision;
