// Byte credits of what comes to the local process: the agent is granted what the supervisor has room for, and never more
// in one go than the agent itself has set aside. Pure.

import { GRANT_STEP_BYTES } from '#proto/credits.ts';
import { AppError } from '#proto/errors.ts';
import { WIRE_FLOW_CREDIT_BYTES } from '#proto/wire.ts';

export class DownlinkWindow {
  readonly #agentLimitBytes: number;
  readonly #stepBytes: number;
  /** What the agent may send unasked; never more than the supervisor takes. */
  #agentBytes: number;
  #supervisorBytes = WIRE_FLOW_CREDIT_BYTES;

  /** `creditBytes` of CONNECTED, which counts as granted. */
  constructor(creditBytes: number) {
    this.#agentLimitBytes = Math.min(creditBytes, WIRE_FLOW_CREDIT_BYTES);
    this.#agentBytes = this.#agentLimitBytes;
    this.#stepBytes = Math.max(1, Math.min(GRANT_STEP_BYTES, this.#agentLimitBytes >> 1));
  }

  /** Bytes of the agent, handed to the supervisor. Returns what to grant the agent. Throws PROTOCOL_VIOLATION. */
  received(bytes: number): number {
    if (bytes > this.#agentBytes) {
      throw new AppError('PROTOCOL_VIOLATION', `${bytes} bytes of a connection where ${this.#agentBytes} were granted`);
    }
    this.#agentBytes -= bytes;
    this.#supervisorBytes -= bytes;
    return this.#grant();
  }

  /** The supervisor has handed bytes on. Returns what to grant the agent. */
  handedOn(bytes: number): number {
    this.#supervisorBytes += bytes;
    return this.#grant();
  }

  #grant(): number {
    const bytes = Math.min(this.#agentLimitBytes, this.#supervisorBytes) - this.#agentBytes;
    if (bytes < this.#stepBytes) return 0;
    this.#agentBytes += bytes;
    return bytes;
  }
}
