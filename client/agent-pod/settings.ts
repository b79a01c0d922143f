// What the configuration says about the agent's pod, with its defaults and the variables that name an image in parts.

import { AppError } from '#proto/errors.ts';
import { VERSION } from '#proto/version.ts';
import type { Config } from '../config/schema/root.ts';
import { agentLogLevel } from './log-level.ts';

type Json = Readonly<Record<string, unknown>>;

export interface AgentSettings {
  /** null: that of the target. */
  readonly namespace: string | null;
  readonly image: string;
  readonly imagePullPolicy: string;
  readonly imagePullSecrets: readonly Json[];
  readonly ttlS: number;
  readonly startupS: number;
  /** How long the agent waits for its client. */
  readonly firstSessionS: number;
  readonly logLevel: string;
  readonly disabledCapabilities: readonly string[];
  readonly isPrivileged: boolean;
  /** null: ours. */
  readonly tolerations: readonly Json[] | null;
  /** Of each container; null: ours. */
  readonly resources: Json | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly serviceAccount: string | null;
  readonly priorityClass: string | null;
  readonly podSecurityContext: Json;
  readonly isOutsideMesh: boolean;
  /** The agent listens at the address of its pod too. */
  readonly isDirect: boolean;
  /** Where its endpoint for Prometheus listens; null: there is none. */
  readonly metrics: string | null;
}

const DEFAULT_REGISTRY = 'mirrord/agent';
const DEFAULT_FIRST_SESSION_S = 30;

/** Throws CONFIG_INVALID that names the key. */
export function agentSettings({ agent }: Config, env: NodeJS.ProcessEnv): AgentSettings {
  return {
    namespace: agent.namespace,
    image: imageOf(agent.image, env),
    imagePullPolicy: agent.image_pull_policy,
    imagePullSecrets: (agent.image_pull_secrets ?? []) as Json[],
    ttlS: agent.ttl,
    startupS: agent.startup_timeout,
    firstSessionS: agent.communication_timeout ?? DEFAULT_FIRST_SESSION_S,
    logLevel: agentLogLevel(agent.log_level),
    disabledCapabilities: agent.disabled_capabilities,
    isPrivileged: agent.privileged,
    tolerations: agent.tolerations as Json[] | null,
    resources: agent.resources as Json | null,
    labels: Object.fromEntries(agent.labels ?? []),
    annotations: Object.fromEntries(agent.annotations ?? []),
    nodeSelector: Object.fromEntries(agent.node_selector ?? []),
    serviceAccount: agent.service_account,
    priorityClass: agent.priority_class,
    podSecurityContext: securityContextOf(agent.security_context as Json | null),
    isOutsideMesh: agent.disable_mesh_sidecar_injection,
    isDirect: agent.direct_connection,
    metrics: agent.metrics,
  };
}

function imageOf(image: unknown, env: NodeJS.ProcessEnv): string {
  if (typeof image === 'string') return image;
  const { registry, tag, ...others } = Object(image) as Json;
  const [stranger] = Object.keys(others);
  if (stranger !== undefined) throw fault('agent.image', `${JSON.stringify(stranger)} is neither registry nor tag`);
  const part = (value: unknown, variable: string, fallback: string) => {
    if (value !== undefined && typeof value !== 'string') throw fault('agent.image', 'registry and tag want texts');
    return value || env[variable] || fallback;
  };
  const repository = part(registry, 'MIRRORD_AGENT_IMAGE_REGISTRY', DEFAULT_REGISTRY);
  return `${repository}:${part(tag, 'MIRRORD_AGENT_IMAGE_TAG', VERSION)}`;
}

function securityContextOf(given: Json | null): Json {
  if (given === null) return {};
  const { app_armor_profile, seccomp_profile, ...others } = given;
  const [stranger] = Object.keys(others);
  if (stranger !== undefined) {
    const known = 'app_armor_profile or seccomp_profile';
    throw fault('agent.security_context', `${JSON.stringify(stranger)} is not ${known}`);
  }
  return {
    ...(seccomp_profile === undefined ? {} : { seccompProfile: profileOf(seccomp_profile) }),
    ...(app_armor_profile === undefined ? {} : { appArmorProfile: profileOf(app_armor_profile) }),
  };
}

function profileOf(given: unknown): Json {
  const { type, localhost_profile } = Object(given) as Json;
  return { type, ...(localhost_profile === undefined ? {} : { localhostProfile: localhost_profile }) };
}

function fault(key: string, what: string): AppError {
  return new AppError('CONFIG_INVALID', `${key}: ${what}`);
}
