// Listeners whose connections come in without us: to ports that are passed by, plain requests go to the target and their answers back
// before anybody of ours hears of the connection (native/arrivals.h). Who is to hear of one takes it over.

import { AppError } from '#proto/errors.ts';
import {
  ARRIVAL_BORN,
  ARRIVAL_SHORTAGE,
  ARRIVAL_STRANGE,
  type NativeArrival,
  type NativeEndpoint,
  type NativeRedirect,
  type NativeSockets,
} from '../native/index.ts';

/** Where the process or the machine has no descriptor left: connections wait in the kernel until some have ended. */
const SHORTAGE_PAUSE_MS = 100;
/** What has waited for too long is looked for so often. */
const SWEEP_MS = 250;

export type DoorOptions = Readonly<{
  /** Stays the caller's, as all of these, who closes the door first. */
  listenerFd: number;
  namespaceFd: number;
  /** Our own connections have to go past it. */
  redirect: NativeRedirect | null;
  /** Where a connection was meant to go is said by the kernel's table of translations. */
  isTranslated: boolean;
  /** All go there instead. */
  to?: NativeEndpoint;
  /** A connection to a port that is not passed by; its descriptor is the receiver's. */
  onStrange: (fd: number) => void;
  /** Something has come that is not plain. Both descriptors are the receiver's, and of the pool already. */
  onArrival: (arrival: NativeArrival) => void;
}>;

export interface Door {
  /** @param screen what the requests of connections to the port are looked through for; null: it is not passed by */
  passBy(port: number, screen: number | null): void;
  /** None comes in any more; those that are there are handed to `onArrival`. Idempotent. */
  close(): void;
}

export class Doors {
  readonly #native: NativeSockets;
  readonly #doors = new Map<number, DoorOptions>();
  readonly #onSwept: (count: number) => void;
  #sweeps: NodeJS.Timeout | undefined;

  /** @param onSwept so many have to be told of */
  constructor(native: NativeSockets, onSwept: (count: number) => void) {
    this.#native = native;
    this.#onSwept = onSwept;
  }

  get size(): number {
    return this.#doors.size;
  }

  /** @throws AppError CONNECTION_FAILED with an errno */
  open(options: DoorOptions, onClosed: () => void): Door {
    const { listenerFd, namespaceFd, redirect, isTranslated, to = null } = options;
    const id = this.#native.openDoor(listenerFd, namespaceFd, redirect, isTranslated, to);
    if (id < 0) throw new AppError('CONNECTION_FAILED', 'a listener cannot be watched', { errno: -id });
    this.#doors.set(id, options);
    this.#sweeps ??= setInterval(() => this.#onSwept(this.#native.sweep()), SWEEP_MS).unref();
    return {
      passBy: (port, screen) => this.#native.setDoorPort(id, port, screen ?? -1),
      close: () => {
        if (!this.#doors.has(id)) return;
        for (const fd of this.#native.closeDoor(id)) this.#hand(options, fd);
        this.#doors.delete(id);
        if (this.#doors.size === 0) {
          clearInterval(this.#sweeps);
          this.#sweeps = undefined;
        }
        onClosed();
      },
    };
  }

  /** @returns false when that is for a member of the pool */
  onTold(id: number, mask: number, fd: number): boolean {
    if ((mask & (ARRIVAL_BORN | ARRIVAL_STRANGE | ARRIVAL_SHORTAGE)) === 0) return false;
    if ((mask & ARRIVAL_BORN) !== 0) this.#hand(undefined, fd);
    else if ((mask & ARRIVAL_STRANGE) !== 0) this.#handStrange(id, fd);
    else setTimeout(() => this.#native.resumeDoor(id), SHORTAGE_PAUSE_MS).unref();
    return true;
  }

  #handStrange(id: number, fd: number): void {
    const door = this.#doors.get(id);
    // Closed by whoever was told before it in the same turn.
    if (door === undefined) this.#native.close(fd, true);
    else door.onStrange(fd);
  }

  #hand(door: DoorOptions | undefined, fd: number): void {
    const arrival = this.#native.takeArrival(fd);
    if (arrival !== null) (door ?? this.#doors.get(arrival.door))?.onArrival(arrival);
  }
}
