// The agent as an ephemeral container of the target's pod: one container that shares the target's processes and network, for
// clusters that give no pod with the node's. What it can be given is less than a pod of its own: no volumes, no resources,
// and its entry stays in the pod's object after it has ended. Nothing in it is a secret. Pure.

import { AppError } from '#proto/errors.ts';
import type { ResolvedTarget } from '../kube/resolve.ts';
import type { LocalTarget } from '../target.ts';
import {
  AGENT_CONTAINER,
  CAPABILITIES,
  directVariables,
  IDLE_MS,
  type Json,
  metricsVariables,
  type PodTemplate,
  servicesOf,
} from './template.ts';

/** Ours among the ports of the pod's loopback: others of the pod listen there too, and other sessions. See GATEWAY_PORT. */
const FIRST_PORT = 27_403;
const PORTS = 500;
const RUNTIME_DIR = '/tmp/mirrord';

export function gatewayPort(sessionId: string): number {
  let sum = 0;
  for (const char of sessionId) sum = (sum * 31 + char.charCodeAt(0)) % PORTS;
  return FIRST_PORT + sum;
}

/** As the API of 1.25 and newer wants it. */
export function ephemeralContainer(template: PodTemplate, targetContainer: string): Json {
  const { settings, features, sessionId } = template;
  const services = servicesOf(features);
  const add = [
    ...new Set([
      ...(features.network ? CAPABILITIES.agentWithNetwork : []),
      ...services.flatMap((service) => [...CAPABILITIES[service]] as string[]),
    ]),
  ].filter((capability) => !settings.disabledCapabilities.includes(capability));
  const mayEscalate = settings.isPrivileged || add.includes('SYS_ADMIN');
  return {
    name: template.name,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    targetContainerName: targetContainer,
    args: ['/app/dist/agent.js'],
    env: [
      { name: 'MIRRORD_RUNTIME_DIR', value: RUNTIME_DIR },
      { name: 'MIRRORD_LOG_LEVEL', value: settings.logLevel },
      { name: 'MIRRORD_NODE_NAME', value: AGENT_CONTAINER },
      { name: 'MIRRORD_GATEWAY_LISTEN', value: `127.0.0.1:${gatewayPort(sessionId)}` },
      { name: 'MIRRORD_CLIENT_PUBLIC_KEY', value: template.publicKey },
      ...directVariables(settings),
      ...metricsVariables(settings),
      { name: 'MIRRORD_WITH_SERVICES', value: services.join(',') },
      { name: 'MIRRORD_BESIDE_TARGET', value: '1' },
      { name: 'MIRRORD_FIRST_SESSION_MS', value: String(settings.firstSessionS * 1_000) },
      { name: 'MIRRORD_IDLE_MS', value: String(IDLE_MS) },
      { name: 'MIRRORD_MAX_SESSIONS', value: '4' },
      { name: 'MIRRORD_NODE_ADDRESSES', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
    ],
    securityContext: {
      privileged: settings.isPrivileged,
      runAsUser: 0,
      runAsGroup: 0,
      runAsNonRoot: false,
      ...(mayEscalate ? {} : { allowPrivilegeEscalation: false }),
      ...(settings.isPrivileged ? {} : { capabilities: { drop: ['ALL'], add } }),
    },
  };
}

/** The first process that the agent sees, unless all containers of the pod see each other's. */
export function ephemeralTarget({ object, containerId }: ResolvedTarget): LocalTarget {
  if (object.spec?.shareProcessNamespace !== true) return { kind: 'pid', pid: 1 };
  return { kind: 'container', name: containerId.slice(containerId.lastIndexOf('/') + 1) };
}

/** What discovery says of v1. */
export interface ResourceList {
  readonly resources?: readonly { readonly name: string; readonly kind: string }[];
}

/** Throws UNSUPPORTED for an API server that offers none, or only their first form, which grants an agent nothing. */
export function requireEphemeral({ resources = [] }: ResourceList): void {
  const kind = resources.find(({ name }) => name === 'pods/ephemeralcontainers')?.kind;
  if (kind === 'Pod') return;
  const what =
    kind === undefined
      ? 'the cluster offers no ephemeral containers'
      : 'the cluster offers ephemeral containers only in their first form (before Kubernetes 1.22), which grants no capabilities';
  throw new AppError('UNSUPPORTED', `${what}: the agent cannot run in the pod of the target`, {
    data: {
      exitCode: 2,
      move: 'user',
      advice:
        'leave -e (agent.ephemeral) away: the agent then gets a pod of its own. Kubernetes 1.25 and newer have them.',
    },
  });
}
