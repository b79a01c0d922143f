// A request that went to a session on a connection which its local process has answered on before. A server closes a connection
// that was idle for its taste, and a request that is on its way by then is lost with it, as long as the way is. Such a request is
// sent once more, on a new connection: any that is known not to have come to the local process, and one that may have, when
// doing it twice is the same as doing it once (RFC 9112 section 9.3.1, RFC 9110 section 9.2.2).

import type { Endpoint } from './endpoint.ts';

/** Of one request; what is larger is not kept. */
export const MAX_KEPT_BYTES = 64 * 1024;
/** RFC 9110 section 9.2.2. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export class KeptRequest {
  readonly #method: string;
  readonly #endpoint: Endpoint;
  #pieces: Buffer[] | undefined = [];
  #bytes = 0;

  /** What is written to the endpoint from here on is the request. */
  constructor(method: string, endpoint: Endpoint) {
    this.#method = method;
    this.#endpoint = endpoint;
    endpoint.beginRequest?.();
  }

  add(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (this.#bytes > MAX_KEPT_BYTES) this.#pieces = undefined;
    this.#pieces?.push(Buffer.from(bytes));
  }

  /** Something of an answer has come: it is not to be sent again. */
  answered(): void {
    this.#pieces = undefined;
  }

  /** The connection is over: what to send on another one. Once; empty when nothing may be. */
  takeAgain(): Buffer[] {
    const pieces = this.#pieces ?? [];
    this.#pieces = undefined;
    const { localEnd } = this.#endpoint;
    return localEnd === 'not reached' || (localEnd === 'perhaps' && IDEMPOTENT.has(this.#method)) ? pieces : [];
  }
}
