// The redirect of one target's network namespace: new connections to stolen ports come to a listener of ours, and we reach the
// target's own past it. Whatever happens to us, the target answers again at once.

import { closeSync, openSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import {
  type OlderConnection,
  olderConnections,
  type RenewalOptions,
  type RenewalResult,
  renewConnections,
} from '#runtime/older-connections.ts';
import type { Way } from '#runtime/redirect-ways.ts';
import { type NativeAccepted, type NativeArrival, stealerAddon } from './native/index.ts';
import { openWay, type RedirectWay } from './redirect-way.ts';
import type { Door } from './relay/doors.ts';
import { adoptArrival, PoolEndpoint } from './relay/pool-endpoint.ts';
import { socketPool } from './relay/socket-pool.ts';

/** Connections that wait to be accepted; the kernel takes the least of this and net.core.somaxconn. */
const BACKLOG = 4_096;
/** How long the target's own listener may take; it is on the same machine. */
export const DIAL_MS = 10_000;

/** `fd` is whoever takes it over. */
export type Accepted = NativeAccepted;

/**
 * A socket that is being connected to the target. `onDialled` is to be called when it is, or never will be: until then its first
 * packet may be sent again, and must not come to us.
 */
export type Dialled = Readonly<{ fd: number; onDialled: () => void }>;

/** @param dialled the endpoint's from here on */
export function endpointOf({ fd, onDialled }: Dialled): PoolEndpoint {
  return new PoolEndpoint(fd, { dialMs: DIAL_MS, onDialled });
}

export type RedirectEvents = Readonly<{
  /** A connection to a port that is not passed by; its descriptor is the receiver's. */
  onAccepted: (accepted: Accepted) => void;
  /** One that was passed by, and is not any more: for `takeOver`. */
  onArrival: (arrival: NativeArrival) => void;
}>;

export class Redirect {
  readonly #namespaceFd: number;
  readonly #way: RedirectWay;
  readonly #door: Door;
  /** Takes what waits when the door is closed. */
  readonly #acceptRest: () => void;
  #listeningFd: number | null = null;
  #isClosed = false;

  private constructor(namespaceFd: number, way: RedirectWay, door: Door, acceptRest: () => void) {
    this.#namespaceFd = namespaceFd;
    this.#way = way;
    this.#door = door;
    this.#acceptRest = acceptRest;
  }

  /**
   * @param namespaceFd of `/proc/PID/ns/net`; stays the caller's, who may close it at once
   * @throws AppError NOT_PERMITTED when the kernel does not allow it, UNSUPPORTED when it does not know it,
   *   LIMIT_REACHED while another process redirects there
   */
  static open(namespaceFd: number, wanted: Way, { onAccepted, onArrival }: RedirectEvents): Redirect {
    const addon = stealerAddon();
    let listenerFd = -1;
    let ownFd = -1;
    let way: RedirectWay | undefined;
    try {
      ownFd = openSync(`/proc/self/fd/${namespaceFd}`, 'r');
      listenerFd = addon.listen(ownFd, BACKLOG);
      const opened = openWay(wanted, ownFd, listenerFd);
      way = opened;
      const accept = (accepted: Accepted): void =>
        onAccepted({ ...accepted, local: opened.originalOf(accepted.fd) ?? accepted.local });
      const { lookup } = opened;
      const isTranslated = lookup === null;
      const onStrange = (fd: number): void => accept(addon.endsOf(fd));
      const places = { listenerFd, namespaceFd: ownFd, redirect: lookup, isTranslated };
      const door = socketPool().openDoor({ ...places, onStrange, onArrival });
      return new Redirect(ownFd, opened, door, () => {
        try {
          for (let next = addon.accept(listenerFd); next !== null; next = addon.accept(listenerFd)) accept(next);
        } catch {
          // No descriptor for the rest: the kernel resets it with the listener.
        }
        closeSync(listenerFd);
      });
    } catch (thrown) {
      way?.close(ownFd);
      way?.release(ownFd);
      if (listenerFd >= 0) closeSync(listenerFd);
      if (ownFd >= 0) closeSync(ownFd);
      throw AppError.from(thrown, 'UNSUPPORTED');
    }
  }

  get method(): string {
    return this.#way.method;
  }

  get notes(): readonly string[] {
    return this.#way.notes;
  }

  /** Connections to the port come to us from here on. */
  take(port: number): void {
    this.#way.setPort(port, true);
  }

  /** @param screen as of Door: what is plain there is passed on to the target before anybody is told; null: everybody is told */
  passBy(port: number, screen: number | null): void {
    this.#door.passBy(port, screen);
  }

  /** The two ends of one that was passed by. */
  takeOver(arrival: NativeArrival): Readonly<{ client: PoolEndpoint; origin: PoolEndpoint }> {
    const { address, port } = arrival.bound;
    return adoptArrival(arrival, { dialMs: DIAL_MS, onDialled: () => this.#way.forget(address, port) });
  }

  giveBack(port: number): void {
    if (!this.#isClosed) this.#way.setPort(port, false);
  }

  /** Ports that somebody of the target listens on; null where the kernel does not say. */
  listening(): ReadonlySet<number> | null {
    try {
      this.#listeningFd ??= stealerAddon().openListening(this.#namespaceFd);
      return new Set(stealerAddon().listening(this.#listeningFd));
    } catch {
      // Then a target that is down seems to be up, as one that hangs does. What is left of the answer is nobody's.
      this.#forgetListening();
      return null;
    }
  }

  #forgetListening(): void {
    if (this.#listeningFd !== null) closeSync(this.#listeningFd);
    this.#listeningFd = null;
  }

  /** Those that a port has; ask before it is taken, for ours look the same. Throws NOT_PERMITTED, SERVICE_UNAVAILABLE. */
  olderConnections(port: number): OlderConnection[] {
    return olderConnections(this.#namespaceFd, port);
  }

  /** Closes some of them, one after the other; ended by its signal before `release`. */
  async renew(options: Omit<RenewalOptions, 'namespaceFd'>): Promise<RenewalResult> {
    return await renewConnections({ ...options, namespaceFd: this.#namespaceFd });
  }

  /** A connection to the target's own listener, to where `accepted` was meant to go. Errors come as the connection's. */
  dial(accepted: Accepted): PoolEndpoint {
    try {
      return endpointOf(this.dialFd(accepted));
    } catch (thrown) {
      return new PoolEndpoint(AppError.from(thrown, 'BUG'));
    }
  }

  /** The same as a descriptor, which is the caller's. @throws AppError CONNECTION_FAILED */
  dialFd({ fd, local }: Accepted): Dialled {
    try {
      const { fd: dialled, address, port } = this.#way.dial(this.#namespaceFd, fd);
      return { fd: dialled, onDialled: () => this.#way.forget(address, port) };
    } catch (cause) {
      throw new AppError('CONNECTION_FAILED', `the target's port ${local.port} cannot be reached`, { cause });
    }
  }

  /** New connections go to the target. What waits to be accepted is still handed out, and `dial` still dials. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // The other way round somebody who came in would be dialled back to us.
    this.#door.close();
    this.#way.close(this.#namespaceFd);
    this.#forgetListening();
    this.#acceptRest();
  }

  /** After `close`, when nobody will dial any more. */
  release(): void {
    this.#way.release(this.#namespaceFd);
    closeSync(this.#namespaceFd);
  }
}
