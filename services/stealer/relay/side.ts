// A place that requests of one client connection go to, and what is known of its answers.

import { ResponseReader } from '#runtime/http/response-reader.ts';
import { Deadline } from './deadline.ts';
import type { Decide, Taker } from './decision.ts';
import type { Endpoint } from './endpoint.ts';
import { KeptRequest } from './kept-request.ts';
import { ANSWER_MS } from './times.ts';

/** Requests of one client that the target has not answered; the next ones wait in front of it. */
export const MAX_ASKED = 1_024;

/** A request that was sent on and whose answer has not come whole. */
export type Asked = {
  readonly method: string;
  side: Side;
  /** Of a session, where it might be sent again. */
  readonly kept: KeptRequest | undefined;
  readonly mayLeaveHttp: boolean;
  /** All of it has been sent on. */
  isSent: boolean;
  /** The head of the answer proper has gone to the client. */
  isAnswered: boolean;
  /** Where the answer ends only the end of its connection tells. */
  isEndless: boolean;
  /** Answered with a 502: the rest of it is read and thrown away. */
  isGivenUp: boolean;
};

export function newAsked(method: string, side: Side, isSent: boolean, mayLeaveHttp = false): Asked {
  side.idle.stop();
  const kept = side.hasAnswered && !side.isOrigin ? new KeptRequest(method, side.endpoint) : undefined;
  return { method, side, kept, mayLeaveHttp, isSent, isAnswered: false, isEndless: false, isGivenUp: false };
}

export class Side {
  readonly endpoint: Endpoint;
  /** undefined: the target. */
  readonly taker: Taker | undefined;
  readonly reader: ResponseReader;
  /** A whole answer of its has come. */
  hasAnswered = false;
  /** Its FIN or its failure has come. */
  isOver = false;
  readonly idle = new Deadline();
  readonly #idleMs: number;
  #isEnding = false;
  #hasEnd = false;

  /** @param asked the requests in flight of the whole connection, the eldest first */
  constructor(endpoint: Endpoint, taker: Taker | undefined, asked: readonly Asked[]) {
    this.#idleMs = taker?.idleMs ?? 0;
    this.endpoint = endpoint;
    this.taker = taker;
    this.reader = new ResponseReader(() => (asked[0]?.side === this ? asked[0].method : undefined));
  }

  get isOrigin(): boolean {
    return this.taker === undefined;
  }

  /**
   * Every request has its answer. A local process would close the connection some day, perhaps just when a request is on its
   * way: it is closed before.
   */
  rest(onIdle: () => void): void {
    if (this.#idleMs > 0) this.idle.start(this.#idleMs, onIdle);
  }

  /** It has heard the client's end, so that it may have given the request up for it. */
  get mayHaveGivenUp(): boolean {
    return this.#hasEnd && this.endpoint.localEnd !== 'not reached';
  }

  /**
   * The client's FIN. One that is behind a whole request of a session's may be of who waits for the answer, and many servers give it
   * up at once: an answer that comes soon is on its way by then.
   */
  end(isTorn: boolean | undefined, isBehindRequest: boolean): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    const end = () => {
      this.#hasEnd = true;
      this.endpoint.end(isTorn);
    };
    if (this.isOrigin || !isBehindRequest) end();
    else this.idle.start(ANSWER_MS, end);
  }

  close(isFailure: boolean, isTorn?: boolean): void {
    this.idle.stop();
    if (isFailure) this.endpoint.destroy();
    else this.endpoint.end(isTorn);
    // Its own end is behind what it still says.
    if (!isFailure) this.endpoint.resume();
  }
}

/** For who asked, of a session that did not say more. */
export const SESSION_ENDED = 'the session that took this request has ended';

/** The answer to a request whose session gives none: 502, of this request only (RFC 9110 section 15.6.3). */
export function badGateway(method: string, closes: boolean, why = SESSION_ENDED): Buffer {
  return answerOfOurs('502 Bad Gateway', method, closes, why);
}

/** The answer to a request of a session whose chunks can be read in two ways (RFC 9112 section 7.1). */
export function badRequest(method: string): Buffer {
  return answerOfOurs('400 Bad Request', method, true, 'the chunks of this request can be read in two ways');
}

function answerOfOurs(status: string, method: string, closes: boolean, why: string): Buffer {
  const body = `mirrord: ${why}\n`;
  const head = [
    `HTTP/1.1 ${status}`,
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${body.length}`,
    ...(closes ? ['Connection: close'] : []),
  ];
  return Buffer.from(`${head.join('\r\n')}\r\n\r\n${method === 'HEAD' ? '' : body}`, 'latin1');
}

/** `origin` is undefined when its end has come. */
export type HandedOver = Readonly<{ fromClient: Buffer; fromOrigin: Buffer; origin: Endpoint | undefined }>;

export type Http1RelayOptions = Readonly<{
  client: Endpoint;
  /** Connects to the target's own listener; called at once, and again when the target closed an idle connection. */
  connectOrigin: () => Endpoint;
  decide: Decide;
  /** Of the pool: requests that it lets pass are for nobody, and need not be shown to `decide`. */
  screen: number;
  /** How long the first head may take, from its first byte, in ms. */
  firstHeadMs?: number;
  /** The client speaks HTTP/2: both ends are handed over, with what was read. */
  onHttp2: (handed: HandedOver) => void;
  onClosed: () => void;
  /** Both ends have been joined before they came here. */
  arrived?: Readonly<{ wasAsked: boolean }> | undefined;
}>;
