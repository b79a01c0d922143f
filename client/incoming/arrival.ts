// What arrived at the target and is made here once more, whatever it is: the credit it is sent under, and its one end.

import { ReceiveCredit } from '#proto/credits.ts';
import type { InternetAddress } from '#proto/socket-address.ts';
import type { LocalLoss } from './tally.ts';

export interface ArrivalOptions {
  readonly connectionBytes: number;
  /** To the service: so many bytes more may come. */
  grant(bytes: number): void;
  /** To the service: nothing more is wanted. @param errno why the local process was not reached; 0: it was */
  reset(errno: number): void;
  delivered(bytes: number): void;
  lost(why: LocalLoss, bytes: number): void;
  /** The socket is closed, or never was. Once. */
  onClosed(): void;
}

export abstract class Arrival<Options extends ArrivalOptions = ArrivalOptions> {
  protected readonly options: Options;
  readonly #credit: ReceiveCredit;
  #isClosed = false;
  #whenClosed: (() => void)[] = [];

  constructor(options: Options) {
    this.options = options;
    this.#credit = new ReceiveCredit(options.connectionBytes);
  }

  /** Once. `from` is bound here; `onRefused` says that nobody listened or that the address was taken. */
  abstract connect(from: InternetAddress, to: InternetAddress, onRefused: (code: string) => void): void;
  /** The peer's direction has ended in order; `isUnanswered`: behind a request that the target has not answered. */
  abstract halfClose(isUnanswered?: boolean): void;
  /** The original is over; `isReset`: by its peer's reset. */
  abstract end(isReset?: boolean, isUnanswered?: boolean): void;
  /** Something is missing before what comes next. */
  abstract cut(): void;
  protected abstract take(data: Uint8Array): void;
  /** Of what came, bytes that the local process has not got. */
  protected abstract get waitingBytes(): number;
  protected abstract release(): void;

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** At once when it is closed already. */
  whenClosed(act: () => void): void {
    if (this.#isClosed) act();
    else this.#whenClosed.push(act);
  }

  /** Throws PROTOCOL_VIOLATION for more than was granted. */
  receive(data: Uint8Array): void {
    this.#credit.received(data.length);
    if (!this.#isClosed) this.take(data);
  }

  /** Nobody listened, in the end. @param errno as the kernel said it; 0: it did not */
  refuse(why: LocalLoss, errno = 0): void {
    if (this.#isClosed) return;
    this.options.lost(why, this.waitingBytes);
    this.options.reset(errno);
    this.close();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.release();
    this.options.onClosed();
    for (const act of this.#whenClosed.splice(0)) act();
  }

  protected consumed(bytes: number, isWantedOn: boolean): void {
    const grant = this.#credit.consumed(bytes);
    if (grant > 0 && isWantedOn) this.options.grant(grant);
  }
}
