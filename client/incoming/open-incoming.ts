// Puts incoming traffic together for one session, as the configuration wants it.

import type { SessionEvent } from '#proto/gen/v1/session.ts';
import { WireFeature } from '#proto/wire.ts';
import type { Config } from '../config/schema/root.ts';
import type { RunSession } from '../moving-session.ts';
import { Incoming } from './incoming.ts';
import { PortPolicy } from './port-policy.ts';
import { IncomingTls, type TlsSources } from './tls-files.ts';

/** Bits of WireFeature that the configuration needs; 0: sockets that listen are this machine's. */
export function incomingFeatures({ feature }: Config): number {
  return feature.network.incoming.mode === 'off' ? 0 : WireFeature.INCOMING;
}

/** Files of the target are read for TLS of stolen ports, whatever else of it is local. */
export function incomingFiles({ feature }: Config): boolean {
  const { mode, tls } = feature.network.incoming;
  return mode === 'steal' && tls.some(({ from }) => from === 'target');
}

/** Certificates and keys of a session that steals. Rejects with CONFIG_INVALID. */
export async function loadIncomingTls({ feature }: Config, sources: TlsSources): Promise<IncomingTls | null> {
  const { mode, tls, tls_delivery, https_delivery } = feature.network.incoming;
  if (mode !== 'steal') return null;
  return await IncomingTls.load(tls, tls_delivery ?? https_delivery, sources);
}

/** What of that lies on this machine, before anything is started. Rejects with CONFIG_INVALID. */
export async function checkIncomingTls({ feature }: Config, cwd: string): Promise<void> {
  const { mode, tls, tls_delivery, https_delivery } = feature.network.incoming;
  if (mode === 'steal') await IncomingTls.check(tls, tls_delivery ?? https_delivery, cwd);
}

export interface OpenIncomingOptions {
  readonly config: Config;
  readonly session: RunSession;
  readonly tls: IncomingTls | null;
  readonly onNews: (text: string) => void;
  readonly onTrouble: (text: string) => void;
  /** The local process stands for this port of the target from here on. */
  readonly onPort?: ((port: number, lease: string) => void) | undefined;
}

export function openIncoming({
  config,
  session,
  tls,
  onNews,
  onTrouble,
  onPort,
}: OpenIncomingOptions): Incoming | null {
  if (incomingFeatures(config) === 0) return null;
  const incoming = new Incoming({
    session,
    tls,
    policy: new PortPolicy(config.feature.network.incoming, config.agent, config.experimental),
    onNews,
    onTrouble,
    onPort,
  });
  session.arrivals = (frame) => incoming.receiveFrame(frame);
  session.whenMoved?.(() => incoming.moved());
  return incoming;
}

/** What an event of the session means for incoming traffic; null: nothing. */
export function incomingEventText(event: NonNullable<SessionEvent['event']>): string | null {
  if (event.$case === 'targetEnded' || event.value.service === 'fs-env') return null;
  const { service } = event.value;
  return event.$case === 'serviceLost'
    ? `the agent lost its ${service}: nothing arrives until it is back`
    : `the agent's ${service} is back: connections arrive again`;
}
