// What subscriptions want of HTTP on their port, put together where it is about a connection that is nobody's yet.

import type { FilteredRequest, RequestFilter } from '#http-filter/http-filter.ts';
import { Http1Request } from '#runtime/http/http1-request.ts';
import { type AnswerMarks, isMarked } from './relay/answer-fields.ts';
import type { Decide, Decision } from './relay/decision.ts';
import type { Endpoint } from './relay/endpoint.ts';
import { MarkedAnswers } from './relay/marked-answers.ts';
import type { Judge } from './relay/screens.ts';
import type { SocketPool } from './relay/socket-pool.ts';
import { FIRST_HEAD_MS } from './relay/times.ts';
import type { Subscription } from './subscription.ts';

/** A head that nobody wants is decided once. */
export function decideOnce(pool: SocketPool, screen: number, decide: (request: FilteredRequest) => Decision): Decide {
  return (head, start) => {
    const decision = decide(new Http1Request(head, start));
    if (decision === undefined) pool.screens.learn(screen, head.bytes, start, head.end);
    return decision;
  };
}

/** What joined connections ask of a request before anybody is told of it. */
export type Looked = Readonly<{
  /** What a request has of which one of them wants it; null: any may be. */
  texts: readonly string[] | null;
  /** Undefined when somebody wants all. */
  judge: Judge | undefined;
}>;

export function looksOf(subscriptions: ReadonlyArray<Readonly<{ filter: RequestFilter | null }>>): Looked {
  const filters = subscriptions.flatMap(({ filter }) => filter ?? []);
  if (filters.length < subscriptions.length) return { texts: null, judge: undefined };
  const texts = filters.map((filter) => filter.texts);
  return {
    texts: texts.every((some) => some !== null) ? [...new Set(texts.flat())] : null,
    // Where a body decides, somebody may want it.
    judge: (request, hasBody) =>
      filters.every((filter) => (hasBody ? filter.judge(request) === false : !filter.matches(request))),
  };
}

type Wishes = readonly Pick<Subscription, 'http'>[];

/** The most patient one: nobody's requests are taken for something else. */
export function firstHeadMsOf(subscriptions: Wishes): number {
  return Math.max(0, ...subscriptions.map(({ http }) => http.firstHeadMs || FIRST_HEAD_MS)) || FIRST_HEAD_MS;
}

/** Of the target's answers: what anybody wants. */
export function marksOf(subscriptions: Wishes): AnswerMarks {
  return {
    namesOrigin: subscriptions.some(({ http }) => http.namesOrigin),
    forbidsCaching: subscriptions.some(({ http }) => http.forbidsCaching),
  };
}

/** The session's end of a connection, with what it wants in its own answers. */
export function markedFor({ http }: Pick<Subscription, 'http'>, taken: Endpoint): Endpoint {
  return isMarked(http) ? new MarkedAnswers(taken, http, 'session') : taken;
}
