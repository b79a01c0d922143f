// One end of a connection, as the relay sees it: a client, the target's own listener, or a session that took a request. All
// three have the same four ways to go on and the same four ways to tell.

import type { PackedTable } from '#runtime/http2/hpack-table.ts';
import type { NativeStreams } from '../native/index.ts';

export interface Endpoint {
  /**
   * @param bytes may be those of an onData that has not returned, and are then copied if they have to be kept; others belong to
   *   the endpoint from here on
   * @returns false when the sender should wait for onDrain
   */
  write(bytes: Buffer): boolean;
  /**
   * FIN: nothing more will be written.
   *
   * @param isTorn in TLS: without a word of it, as the other end's came that this one stands for
   */
  end(isTorn?: boolean): void;
  /** The peer's end came in TLS without a word of that: what it sent may have been cut short. */
  readonly isTorn?: boolean | undefined;
  /** RST: over in both directions, at once. onClosed is not called for it. */
  destroy(): void;
  /** onData and onEnd come no more until resume. */
  pause(): void;
  resume(): void;
  /** Called before anything else; called again, it hands the endpoint over: what comes goes to the new listener. */
  listen(events: EndpointEvents): void;
  /**
   * Passes requests on to the target's end by itself, and answers back, as long as the screen lets them. Only when both are at
   * rest.
   *
   * @returns false when they cannot be joined, or not now
   */
  join?(origin: Endpoint, screen: number, events: JoinEvents): boolean;
  /** The same of HTTP/2, where both are between two frames. */
  joinStreams?(origin: Endpoint, screen: number, streams: RestingStreams, events: JoinEvents): boolean;
  /** It has done so since before it was here. @returns false when that cannot be */
  isJoined?(origin: Endpoint, events: JoinEvents): boolean;
  /** Ends that; onParted is called if it was so. */
  part?(): void;
  /** Of a session's: what is written from here on is one request. */
  beginRequest?(): void;
  /** Of a session's, once its local process has ended it: whether something of that request had come to it before. */
  readonly localEnd?: LocalEnding | undefined;
  /** Of a session's, once it is over: why there is no answer, for who asked. Of fixed words. */
  readonly whyOver?: string | undefined;
}

export type LocalEnding = 'not reached' | 'perhaps';

/** Where a client of HTTP/2 and its target are. */
export type RestingStreams = Readonly<{
  /** The highest stream that the client has begun, and those that the target was asked on and has not ended. */
  highest: number;
  open: readonly number[];
  /** Header blocks of requests that are passed on. */
  blocks: readonly Buffer[];
  /** The client's header table. */
  table: () => PackedTable;
}>;

export interface JoinEvents {
  /**
   * Nothing is passed on any more; comes before anything else is told of either end.
   *
   * @param asked the method of a request that was passed on and whose answer is due
   * @param left bytes of its body that are still to come from the client
   * @param isLast no request may follow those that were passed on
   * @param streams of HTTP/2: where the two are
   */
  onParted(asked: 'GET' | 'HEAD' | undefined, left: number, isLast: boolean, streams: NativeStreams | null): void;
  /**
   * Right after it: the end of a message that belongs to the other end, and that its kernel did not take.
   *
   * @param isFinal of an answer with which the connection ends
   */
  onRest(isFromClient: boolean, bytes: Buffer, isFinal: boolean): void;
}

export interface EndpointEvents {
  /** The bytes are there until the call returns: who needs them longer copies them. */
  onData(bytes: Buffer): void;
  /** The other side's FIN. */
  onEnd(): void;
  onDrain(): void;
  /** Over in both directions: after both FINs, or early because of an error. Nothing comes after it. */
  onClosed(error: Error | undefined): void;
}
