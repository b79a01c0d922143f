// What a scrape is told: what passed through the agent, what its stealer says of requests, and the agent's own process.

import { VERSION } from '#proto/version.ts';
import type { SessionCounts } from './counts.ts';
import type { Family, Sample } from './exposition.ts';

/** Requests on stolen ports since the stealer began; null: there is none, or it does not answer. */
export type StealerStats = Readonly<{ matched: number; passed: number }>;

/** @param said numbers by name, as the stealer says them; null when it says nothing */
export function stealerStats(said: Readonly<Record<string, unknown>> | null): StealerStats | null {
  if (said === null) return null;
  const { matched, passed } = said;
  return typeof matched === 'number' && typeof passed === 'number' ? { matched, passed } : null;
}

const startedS = Math.round(Date.now() / 1_000 - process.uptime());

export function families(counts: SessionCounts, openSessions: number, stealer: StealerStats | null): Family[] {
  const { outgoing, mirror, steal } = counts.ways;
  const incoming = { mirror, steal } as const;
  const byMode = (field: keyof typeof mirror): Sample[] =>
    Object.entries(incoming).map(([mode, carried]) => ({ labels: { mode }, value: carried[field] }));
  const memory = process.memoryUsage.rss();
  const { user, system } = process.cpuUsage();
  return [
    gauge('mirrord_agent_info', 'The agent, by its version.', [{ labels: { version: VERSION }, value: 1 }]),
    gauge('mirrord_sessions', 'Sessions that are open.', [{ value: openSessions }]),
    counter('mirrord_sessions_total', 'Sessions that were opened.', [{ value: counts.sessions }]),
    counter('mirrord_outgoing_connections_total', 'Connections made from the target.', [
      { value: outgoing.connections },
    ]),
    counter('mirrord_outgoing_bytes_total', 'Bytes of connections made from the target.', [
      { labels: { direction: 'to_client' }, value: outgoing.toClient },
      { labels: { direction: 'to_peer' }, value: outgoing.fromClient },
    ]),
    counter(
      'mirrord_incoming_connections_total',
      'Connections to the target that sessions got.',
      byMode('connections'),
    ),
    counter(
      'mirrord_incoming_bytes_total',
      'Bytes of connections to the target that sessions got.',
      byMode('toClient'),
    ),
    counter('mirrord_incoming_answer_bytes_total', 'Bytes that sessions answered.', [
      { labels: { mode: 'steal' }, value: steal.fromClient },
    ]),
    counter('mirrord_incoming_lost_connections_total', 'Mirrored connections that lost something, or never came.', [
      { value: mirror.lostConnections },
    ]),
    counter(
      'mirrord_incoming_lost_bytes_total',
      'Bytes that are missing in mirrored connections, where it is known how many.',
      [{ value: mirror.lostBytes }],
    ),
    counter('mirrord_incoming_lost_packets_total', 'Packets that were lost before anybody knew whose they were.', [
      { value: mirror.lostPackets },
    ]),
    counter('mirrord_http_requests_total', 'Requests on stolen ports, by who got them.', [
      ...(stealer === null
        ? []
        : [
            { labels: { outcome: 'matched' }, value: stealer.matched },
            { labels: { outcome: 'passed' }, value: stealer.passed },
          ]),
    ]),
    counter('process_cpu_seconds_total', 'CPU time of the agent.', [{ value: (user + system) / 1e6 }]),
    gauge('process_resident_memory_bytes', 'Memory of the agent.', [{ value: memory }]),
    gauge('process_start_time_seconds', 'When the agent started.', [{ value: startedS }]),
  ];
}

const counter = (name: string, help: string, samples: readonly Sample[]): Family => ({
  name,
  type: 'counter',
  help,
  samples,
});
const gauge = (name: string, help: string, samples: readonly Sample[]): Family => ({
  name,
  type: 'gauge',
  help,
  samples,
});
