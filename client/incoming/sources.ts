// Where the client connects from when it brings a connection to the local process: each time another address of this
// machine's loopback, by which the layer knows whose connection it is. Pure.

import { type InternetAddress, internet } from '#proto/socket-address.ts';

/** 127.64.0.0/10: of 127.0.0.0/8, and nothing that people use. */
const FIRST_V4 = 0x7f40_0000;
const V4_COUNT = 0x40_0000;
export const FIRST_PORT = 1_024;
const PORTS = 60_000;
/** Prime to their number, and to the next one that is taken as likely as not. */
const PORT_STEP = 7_919;
/** ::1 is one address only: its ports do, below those that the kernel gives away. */
const FIRST_V6_PORT = 16_384;
const V6_PORTS = 16_384;
const LOOPBACK_V6 = Buffer.from('00000000000000000000000000000001', 'hex');

export class Sources {
  #port: number;
  #v4: number;
  #v6: number;

  /** `seed`: sessions of one machine begin at different places. */
  constructor(seed: number) {
    this.#port = FIRST_PORT + (seed % PORTS);
    this.#v4 = (seed * 4_099) % V4_COUNT;
    this.#v6 = (seed * 61) % V6_PORTS;
  }

  /** Somebody has it: of IPv4 perhaps its port at every address, as who listens at 0.0.0.0 or :: has. */
  taken({ ip, port }: InternetAddress): void {
    if (ip.length === 4 && port === this.#port) this.#port = FIRST_PORT + ((port - FIRST_PORT + PORT_STEP) % PORTS);
  }

  next(family: 4 | 6): InternetAddress {
    if (family === 6) {
      this.#v6 = (this.#v6 + 1) % V6_PORTS;
      return internet(LOOPBACK_V6, FIRST_V6_PORT + this.#v6);
    }
    this.#v4 = (this.#v4 + 1) % V4_COUNT;
    const ip = Buffer.alloc(4);
    ip.writeUInt32BE(FIRST_V4 + this.#v4);
    return internet(ip, this.#port);
  }
}
