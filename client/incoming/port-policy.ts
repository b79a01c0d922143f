// Which sockets of the local process stand for ports of the target, as feature.network.incoming has it. Pure.

import { ConflictPolicy, type HttpCondition, type HttpFilter, type HttpHandling } from '#proto/gen/v1/incoming.ts';
import { type InternetAddress, isLoopback } from '#proto/socket-address.ts';
import type { Config } from '../config/schema/root.ts';

export type IncomingConfig = Config['feature']['network']['incoming'];
type AgentConfig = Pick<
  Config['agent'],
  | 'max_body_buffer_size'
  | 'max_body_buffer_timeout'
  | 'flush_connections'
  | 'http_detection_timeout'
  | 'inject_headers'
  | 'override_cache_control'
>;
type ExperimentalConfig = Pick<Config['experimental'], 'idle_local_http_connection_timeout'>;

const AGENT_DEFAULTS: AgentConfig = {
  max_body_buffer_size: 65_535,
  max_body_buffer_timeout: 1_000,
  flush_connections: false,
  http_detection_timeout: 10,
  inject_headers: false,
  override_cache_control: false,
};
const EXPERIMENTAL_DEFAULTS: ExperimentalConfig = { idle_local_http_connection_timeout: 3_000 };

/** Before patterns of headers and paths: upper and lower case are the same. */
export const CASELESS = '(?i)';

const CONFLICTS = {
  abort: ConflictPolicy.CONFLICT_POLICY_ABORT,
  continue: ConflictPolicy.CONFLICT_POLICY_CONTINUE,
  override: ConflictPolicy.CONFLICT_POLICY_OVERRIDE,
} as const;

export class PortPolicy {
  readonly #config: IncomingConfig;
  readonly #agent: AgentConfig;
  readonly #experimental: ExperimentalConfig;
  readonly #targetPorts: ReadonlyMap<number, number>;
  readonly #listenPorts: ReadonlyMap<number, number>;

  constructor(
    config: IncomingConfig,
    agent: AgentConfig = AGENT_DEFAULTS,
    experimental: ExperimentalConfig = EXPERIMENTAL_DEFAULTS,
  ) {
    this.#config = config;
    this.#agent = agent;
    this.#experimental = experimental;
    this.#targetPorts = new Map(config.port_mapping);
    this.#listenPorts = new Map(config.listen_ports);
  }

  get isSteal(): boolean {
    return this.#config.mode === 'steal';
  }

  /** What to do when somebody else steals what this would. */
  get onConflict(): ConflictPolicy {
    return CONFLICTS[this.#config.on_concurrent_steal];
  }

  /** How HTTP on stolen ports is dealt with; undefined: nothing is stolen. */
  get httpHandling(): HttpHandling | undefined {
    if (!this.isSteal) return undefined;
    return {
      firstHeadMs: this.#agent.http_detection_timeout * 1_000,
      idleMs: this.#experimental.idle_local_http_connection_timeout,
      namesOrigin: this.#agent.inject_headers,
      forbidsCaching: this.#agent.override_cache_control,
    };
  }

  /** Connections that began before are made to come again. */
  get renewsOlder(): boolean {
    return this.#config.renew_connections || (this.isSteal && this.#agent.flush_connections);
  }

  /** The target's port that a socket asked for here stands for; null: it is this machine's alone. */
  targetPort({ ip, port }: InternetAddress): number | null {
    const { ignore_localhost, ignore_ports, ports } = this.#config;
    if (port === 0 || (ignore_localhost && isLoopback(ip))) return null;
    const targetPort = this.#targetPorts.get(port) ?? port;
    if (ignore_ports.includes(port) || (ports !== null && !ports.includes(targetPort))) return null;
    return targetPort;
  }

  /** The port to bind here instead of the one that was asked for; null: that one, or one nearby. */
  listenPort({ port }: InternetAddress): number | null {
    return this.#listenPorts.get(port) ?? null;
  }

  /** What of the port's traffic is wanted; undefined: all. */
  filterFor(targetPort: number): HttpFilter | undefined {
    const { http_filter } = this.#config;
    if (http_filter.ports !== null && !http_filter.ports.includes(targetPort)) return undefined;
    return compileFilter(http_filter, this.#agent);
  }
}

function compileFilter(filter: IncomingConfig['http_filter'], agent: AgentConfig): HttpFilter | undefined {
  const conditions: HttpCondition[] = [];
  const add = (one: NonNullable<HttpCondition['condition']>) => conditions.push({ condition: one });
  if (filter.header_filter !== null) add({ $case: 'header', value: foldCase(filter.header_filter) });
  if (filter.path_filter !== null) add({ $case: 'path', value: foldCase(filter.path_filter) });
  if (filter.method_filter !== null) add({ $case: 'method', value: filter.method_filter });
  if (filter.header_filter_jq !== null) add({ $case: 'headerJq', value: filter.header_filter_jq });
  if (filter.body_filter !== null) add(readPart(filter.body_filter, agent));
  for (const part of filter.all_of ?? filter.any_of ?? []) add(readPart(part, agent));
  if (conditions.length === 0) return undefined;
  return { conditions, isAny: filter.any_of !== null };
}

/** One of a composite: the schema has seen that it names what it filters. */
function readPart(part: unknown, agent: AgentConfig): NonNullable<HttpCondition['condition']> {
  const fields = part as Readonly<Record<string, unknown>>;
  if (fields['header'] !== undefined) return { $case: 'header', value: foldCase(String(fields['header'])) };
  if (fields['path'] !== undefined) return { $case: 'path', value: foldCase(String(fields['path'])) };
  if (fields['method'] !== undefined) return { $case: 'method', value: String(fields['method']) };
  if (fields['body'] === undefined) return { $case: 'queryJq', value: String(fields['query']) };
  const limits = { maxBytes: agent.max_body_buffer_size, waitMs: agent.max_body_buffer_timeout };
  return {
    $case: 'jsonBody',
    value: { query: String(fields['query']), matches: String(fields['matches']), ...limits },
  };
}

function foldCase(pattern: string): string {
  return CASELESS + pattern;
}
