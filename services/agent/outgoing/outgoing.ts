// The door to the target's network: a session hands its CONNECT, DATA, HALF_CLOSE, RESET and CREDIT frames in here and
// gets frames back. Nothing is opened before the first CONNECT. No thread enters the network for longer than the making of
// a socket, which belongs to it from then on.
//
// Connections end with the session, and with the target (RESET, ECONNRESET).

import { networkInterfaces } from 'node:os';
import type { Logger } from 'pino';
import type { TargetHandle, TargetIdentity } from '#runtime/target-handle.ts';
import type { SessionLimits } from './connections.ts';
import { DenyList } from './deny-list.ts';
import type { OutgoingLink } from './downlink.ts';
import { OutgoingSession } from './outgoing-session.ts';

export interface OutgoingSettings {
  /** Exceptions to the deny list, as `parseGrant` takes them. */
  readonly allow: readonly string[];
  /** Of the node, beside those of this process's own interfaces. */
  readonly nodeAddresses: readonly string[];
  readonly limits: SessionLimits;
  readonly logger: Logger;
}

export const DEFAULT_LIMITS: SessionLimits = {
  /** A descriptor each; 4,096 is what a busy service has, and a fifth of the descriptors of a common process. */
  connections: 4_096,
  /** Longer than the kernel's own 127 s (tcp_syn_retries 6): the error of a dial is its, not ours. */
  dialMs: 150_000,
  /** RFC 4787 REQ-5: what a NAT should keep a UDP mapping at least, if nobody says otherwise. */
  datagramIdleMs: 300_000,
};

export class Outgoing {
  readonly #settings: OutgoingSettings;
  readonly #sessions = new Set<OutgoingSession>();

  constructor(settings: OutgoingSettings) {
    this.#settings = settings;
  }

  openSession(target: TargetIdentity, link: OutgoingLink): OutgoingSession {
    const { limits, logger } = this.#settings;
    const session: OutgoingSession = new OutgoingSession({
      target,
      link,
      limits,
      logger,
      denyList: (handle) => this.#denyList(handle),
      onClosed: () => this.#sessions.delete(session),
    });
    this.#sessions.add(session);
    return session;
  }

  /** Closes what sessions have left open. */
  async close(): Promise<void> {
    await Promise.all([...this.#sessions].map((session) => session.close()));
  }

  #denyList({ isNodeNetwork }: TargetHandle): DenyList {
    const { allow, nodeAddresses } = this.#settings;
    return new DenyList({ allow, nodeAddresses: [...nodeAddresses, ...ownAddresses()], isNodeNetwork });
  }
}

/** An agent on the node's network finds the node's addresses here; one with its own finds none that matter. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal }) => !internal)
    .map(({ address }) => address.split('%')[0] ?? address);
}
