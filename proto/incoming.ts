// Which ids the connections that arrive have (v1/incoming.proto), and the limits both ends keep. Ids tell the service, so
// that the agent routes by the envelope alone.

import type { ServiceName } from './subjects.ts';

export type IncomingService = Extract<ServiceName, 'sniffer' | 'stealer'>;

/** Ids of one service are this far apart: odd ones are the client's, the even ones go to the services by turns. */
const ID_STEP = 4;
const FIRST_IDS: Readonly<Record<IncomingService, number>> = { sniffer: 2, stealer: 4 };
/** Ids are u32; what is above begins anew, long after the first ones have ended. */
const LAST_ID = 0xffff_fff0;

/** Bytes of one connection before the client grants more, unless the client says otherwise. */
export const INCOMING_CONNECTION_BYTES = 256 * 1024;
/** Bytes of one subscription that are sent and not granted again, unless the client says otherwise. */
export const INCOMING_LIMIT_BYTES = 64 * 1024 * 1024;
/** The least a client may ask for: a frame of usual size fits. */
export const MIN_INCOMING_CONNECTION_BYTES = 16 * 1024;

/** Whose connection an id is; null for ids that the client has given, and for the session itself. */
export function incomingServiceOf(id: number): IncomingService | null {
  if (id === 0 || id % 2 === 1) return null;
  return id % ID_STEP === FIRST_IDS.sniffer ? 'sniffer' : 'stealer';
}

/** Ids for the connections of one session, in order; ids that `isTaken` are left out. */
export class IncomingIds {
  readonly #firstId: number;
  #nextId: number;

  constructor(service: IncomingService, nextId: number = FIRST_IDS[service]) {
    this.#firstId = FIRST_IDS[service];
    this.#nextId = nextId;
  }

  take(isTaken: (id: number) => boolean): number {
    while (isTaken(this.#nextId)) this.#advance();
    const id = this.#nextId;
    this.#advance();
    return id;
  }

  #advance(): void {
    this.#nextId = this.#nextId + ID_STEP > LAST_ID ? this.#firstId : this.#nextId + ID_STEP;
  }
}
