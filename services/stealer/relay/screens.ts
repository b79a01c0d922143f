// What the requests of each port are looked through for by joined sockets, and the filters that are asked of those that have it:
// what nobody wants is passed on without that its connection is told of.

import type { FilteredRequest } from '#http-filter/http-filter.ts';
import type { NativeSockets } from '../native/index.ts';
import { NativeHead } from './native-head.ts';

/**
 * Whether nobody wants the request, which is there until it answers. It may change nothing of a connection; of what it throws
 * nobody hears, as whoever has the connection then asks the same filters.
 */
export type Judge = (request: FilteredRequest, hasBody: boolean) => boolean;

export class Screens {
  readonly head = new NativeHead();
  readonly #native: () => NativeSockets;
  readonly #judges: Array<Judge | undefined> = [];
  readonly #free: number[] = [];

  constructor(native: () => NativeSockets) {
    this.#native = native;
  }

  /** Of one port; `close` when none of its connections is left. */
  open(): number {
    const screen = this.#free.pop() ?? this.#judges.length;
    this.set(screen, null);
    return screen;
  }

  /**
   * @param texts in lower case: a request with one of them is not passed on; null stops all
   * @param judge is asked of those that would not be
   */
  set(screen: number, texts: readonly string[] | null, judge?: Judge): void {
    this.#judges[screen] = judge;
    this.#native().setScreen(screen, texts, judge !== undefined);
  }

  /** Nobody wanted a request with the head that lies there: with the same it is passed on, until the screen is set anew. */
  learn(screen: number, bytes: Buffer, start: number, end: number): void {
    this.#native().learnHead(screen, bytes, start, end);
  }

  /** Requests that were passed on since the last call. */
  takeCount(screen: number): number {
    return this.#native().takeCount(screen);
  }

  close(screen: number): void {
    this.set(screen, null);
    this.#free.push(screen);
  }

  /** Of the head that lies there. */
  isUnwanted(): boolean {
    const { head } = this;
    head.begin();
    return this.#judges[head.screen]?.(head, head.hasBody) === true;
  }
}
