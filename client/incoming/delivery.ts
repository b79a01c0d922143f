// Brings what arrived to the socket of the local process that stands for its port: from an address that the layer is told
// first, and from another one where that is taken. What nobody takes here is refused, and the user is told why.

import { ERRNO, errnoNumber } from '#proto/errno.ts';
import type { Arrived } from '#proto/gen/v1/incoming.ts';
import { type Address, addressText, fromSocketAddress, type InternetAddress, internet } from '#proto/socket-address.ts';
import { arrival, arrivalOver } from '#proto/wire-incoming.ts';
import type { Arrival } from './arrival.ts';
import { Sources } from './sources.ts';
import type { LocalLoss, PortName } from './tally.ts';

export type Place = Readonly<{
  /** Where the local process is reached. */
  to: InternetAddress;
  /** The port that it asked for. */
  askedPort: number;
}>;

export type DeliveryOptions = Readonly<{
  seed: number;
  /** To the layer. */
  send: (pieces: Buffer[]) => void;
  /** Where a port's connections go that came to this address of the target; null: nowhere any more. */
  placeOf: (port: PortName, local: InternetAddress) => Place | null;
  onTrouble: (text: string) => void;
}>;

/** Addresses that are taken; others follow. */
const MAX_ATTEMPTS = 8;

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #sources: Sources;
  readonly #known = new Map<bigint, () => void>();
  /** Ports and reasons. */
  readonly #told = new Set<string>();
  #nextArrival = 0n;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#sources = new Sources(options.seed);
  }

  bring(copy: Arrival, port: PortName, arrived: Arrived): void {
    const peer = fromSocketAddress(arrived.peer);
    const local = fromSocketAddress(arrived.local);
    const place = local?.kind === 'internet' ? this.#options.placeOf(port, local) : null;
    if (place === null || peer === null || local?.kind !== 'internet') copy.refuse('refused', ERRNO.ECONNREFUSED);
    else this.#deliver(copy, port, place, peer, internet(local.ip, place.askedPort, local.scopeId), 1);
  }

  /** The layer knows who that arrival stands for. */
  known(id: bigint): void {
    this.#known.get(id)?.();
    this.#known.delete(id);
  }

  forget(): void {
    this.#known.clear();
  }

  #deliver(copy: Arrival, port: PortName, place: Place, peer: Address, local: Address, attempt: number): void {
    const { send } = this.#options;
    const from = this.#sources.next(place.to.ip.length === 4 ? 4 : 6);
    const id = ++this.#nextArrival;
    this.#known.set(id, () => {
      copy.connect(from, place.to, (code) => {
        send(arrivalOver(from));
        const isTaken = code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL';
        if (isTaken) this.#sources.taken(from);
        if (isTaken && attempt < MAX_ATTEMPTS) this.#deliver(copy, port, place, peer, local, attempt + 1);
        else this.#refuse(copy, port, place, code);
      });
      copy.whenClosed(() => send(arrivalOver(from)));
    });
    send(arrival(id, from, peer, local));
  }

  #refuse(copy: Arrival, port: PortName, { to }: Place, code: string): void {
    copy.refuse(refusalOf(code), errnoNumber(code));
    const key = `${port} ${code}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#options.onTrouble(
      `port ${port}: what arrives does not reach the local process at ${addressText(to)} (${code}); how much is told at the end`,
    );
  }
}

function refusalOf(code: string): LocalLoss {
  return code === 'EMFILE' || code === 'ENFILE' || code === 'EADDRINUSE' ? 'too many' : 'refused';
}
