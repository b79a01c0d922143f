// Puts the parts of the target's network together for one session, as the configuration wants them.

import type { AppError } from '#proto/errors.ts';
import type { TargetFacts } from '#proto/gen/v1/session.ts';
import { WireFeature } from '#proto/wire.ts';
import type { Config } from '../config/schema/root.ts';
import type { NetworkSession } from '../session.ts';
import { DnsCache } from './dns-cache.ts';
import { DnsFilter } from './dns-filter.ts';
import { DnsRelay } from './dns-relay.ts';
import { LocalResolver, localNameServers } from './local-resolver.ts';
import { NameMemory } from './name-memory.ts';
import { Network } from './network.ts';
import { OutgoingFilter } from './outgoing-filter.ts';
import { isListening } from './own-listeners.ts';
import { lookupHere, Policy, type PolicyOptions } from './policy.ts';
import { candidatesOf, parseHosts, parseResolvConf } from './resolver-files.ts';
import { Uplink } from './uplink.ts';

export interface OpenNetworkOptions {
  readonly config: Config;
  readonly session: NetworkSession;
  readonly facts: Pick<TargetFacts, 'resolvConf' | 'hosts'>;
  readonly onTrouble: (error: AppError) => void;
  readonly movedListener: NonNullable<PolicyOptions['movedListener']>;
}

export interface OpenedNetwork {
  readonly network: Network;
  /** For the user, before anything runs. */
  readonly warnings: readonly string[];
}

/** Bits of WireFeature that the configuration needs; 0: no network of the target. */
export function networkFeatures({ feature }: Config): number {
  const { outgoing, dns } = feature.network;
  const isUnix = outgoing.unix_streams.length > 0;
  const isOn = outgoing.tcp || outgoing.udp || dns.enabled || isUnix;
  if (!isOn) return 0;
  return WireFeature.NETWORK | (dns.enabled ? WireFeature.DNS : 0) | (isUnix ? WireFeature.UNIX : 0);
}

/** Throws CONFIG_INVALID for filters that can never fit. */
export function openNetwork({ config, session, facts, onTrouble, movedListener }: OpenNetworkOptions): OpenedNetwork {
  const settings = config.feature.network;
  const target = parseResolvConf(Buffer.from(facts.resolvConf).toString());
  const filter = OutgoingFilter.compile(
    settings,
    { targetNameServers: target.nameServers, localNameServers: localNameServers() },
    config.experimental.tcp_ping4_mock,
  );
  const dnsFilter = new DnsFilter(settings, target.searchDomains);
  const memory = new NameMemory(target.searchDomains);
  const hosts = parseHosts(Buffer.from(facts.hosts).toString());
  for (const [name, ips] of hosts) memory.learn(name, ips, 'remote');
  const relay = settings.dns.enabled
    ? new DnsRelay({
        session,
        uplink: new Uplink(session),
        filter: dnsFilter,
        memory,
        cache: new DnsCache(),
        local: new LocalResolver(),
      })
    : null;
  const lookupForFilter = async (name: string) => {
    const [server] = target.nameServers;
    if (relay === null || server === undefined || settings.outgoing.filter?.side === 'local') return lookupHere(name);
    for (const candidate of candidatesOf(name, target)) {
      const ips = await relay.lookup(candidate, server);
      if (ips.length > 0) return ips;
    }
    return [];
  };
  const isOwnListener = (port: number, transport: Parameters<typeof isListening>[1]) =>
    isListening(port, transport, process.pid);
  const policy = new Policy({ filter, memory, lookupForFilter, isOwnListener, movedListener });
  const { transmit_delay: transmitMs, receive_delay: receiveMs } = config.experimental.latency;
  const latency = transmitMs + receiveMs > 0 ? { latency: { transmitMs, receiveMs } } : {};
  const network = new Network({ session, policy, resolver: relay, onTrouble, ...latency });
  const warnings = dnsFilter.conflicts.map(
    (name) => `${name} is in feature.network.outgoing.filter and on the other side of feature.network.dns.filter`,
  );
  return { network, warnings };
}
