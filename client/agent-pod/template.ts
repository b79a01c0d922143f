// The agent's pod as a Job: one template for every way to run it. The cluster itself ends it at its deadline and removes it
// when it has ended, whatever has become of the client. Nothing in it is a secret. Pure.

import type { Container, Job, PodSpec } from '../kube/objects.ts';
import type { AgentSettings } from './settings.ts';

export interface PodFeatures {
  readonly files: boolean;
  /** Connections and names from the target's network. */
  readonly network: boolean;
  /** Connections that arrive at the target are copied. */
  readonly mirror: boolean;
  /** They are taken over. */
  readonly steal: boolean;
}

export interface PodTemplate {
  readonly name: string;
  readonly sessionId: string;
  /** Of the client, in base64: only it can sign tokens for this agent. */
  readonly publicKey: string;
  /** null: without a target, on whatever node. */
  readonly node: string | null;
  readonly features: PodFeatures;
  readonly settings: AgentSettings;
  /** Of the client, for those who look at the pod. */
  readonly version: string;
  /** What else is written on the job, for the same. */
  readonly annotations: Readonly<Record<string, string>>;
}

/**
 * On the loopback of the pod, which is reached through the cluster's API only. None that Linux gives to outgoing connections (32768
 * to 60999): a port-forward that comes before the agent listens would in one of 14,000 cases be connected with itself, and the
 * agent then find its port taken.
 */
export const GATEWAY_PORT = 27_401;
export const SESSION_LABEL = 'mirrord.dev/session';
const VERSION_ANNOTATION = 'mirrord.dev/version';
export const AGENT_CONTAINER = 'agent';

/**
 * In the memory that the containers of a pod share, which is there without a volume: for any volume the node's kubelet makes a
 * pod wait a third of a second. Of mode 0700, because the memory itself is open to every user of the pod.
 */
const RUNTIME_DIR = '/dev/shm/mirrord';
/** A session that is longer is told so by its end; nothing of ours stays for ever. */
const LONGEST_SESSION_S = 24 * 3_600;
/** After the last session: the client has left in order, or its time to come back is over. */
export const IDLE_MS = 2_000;
const END_GRACE_S = 10;
/** Of its containers together; the node waits 10 s before the second of one, and longer before each after it. */
const RESTARTS = 5;

/** What each may do, and why: docs/kubernetes.md says it in words. */
export const CAPABILITIES = {
  /** Enter the target's network namespace; find it in /proc; take all that from nats-server. */
  agentWithNetwork: ['SYS_ADMIN', 'SYS_PTRACE', 'SETPCAP'],
  /** Reach /proc/PID/root and environ, and then act as the target's user, with its rights over files and no more. */
  'fs-env': ['SYS_PTRACE', 'SETUID', 'SETGID', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'CHOWN', 'FOWNER', 'FSETID'],
  /** Enter the namespace, open packet sockets there, load the filter, ask connection tracking about redirects. */
  sniffer: ['SYS_ADMIN', 'SYS_PTRACE', 'NET_RAW', 'NET_ADMIN'],
  /** Enter the namespace, listen there, and redirect to it. */
  stealer: ['SYS_ADMIN', 'SYS_PTRACE', 'NET_ADMIN'],
} as const;

const DEFAULT_RESOURCES = {
  requests: { cpu: '10m', memory: '48Mi' },
  limits: { cpu: '2', memory: '512Mi' },
};

/** The target's node may be tainted for everybody else: the agent must go where the target is. */
const EVERY_TAINT = [{ operator: 'Exists' }];

export type Json = Readonly<Record<string, unknown>>;

export function agentJob(template: PodTemplate): Job {
  const { name, settings } = template;
  const labels = { ...settings.labels, ...meshLabels(settings), ...ownLabels(template) };
  const annotations = {
    ...settings.annotations,
    ...meshAnnotations(settings),
    ...template.annotations,
    [VERSION_ANNOTATION]: template.version,
  };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name, labels, annotations },
    spec: {
      backoffLimit: RESTARTS,
      completions: 1,
      parallelism: 1,
      ttlSecondsAfterFinished: settings.ttlS,
      activeDeadlineSeconds: LONGEST_SESSION_S,
      template: { metadata: { labels, annotations }, spec: podSpec(template) },
    },
  };
}

function podSpec(template: PodTemplate): PodSpec {
  const { node, settings } = template;
  const services = servicesOf(template.features);
  return {
    // A service that is killed comes back, and the session's subscriptions with it; the agent does not (services/agent/main.ts).
    restartPolicy: 'OnFailure',
    terminationGracePeriodSeconds: END_GRACE_S,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    // Without a target too: the agent finds its target, which is then itself, by its container's id.
    hostPID: true,
    ...(node === null ? { nodeSelector: settings.nodeSelector } : { nodeName: node }),
    tolerations: settings.tolerations ?? (node === null ? [] : EVERY_TAINT),
    ...(settings.serviceAccount === null ? {} : { serviceAccountName: settings.serviceAccount }),
    ...(settings.priorityClass === null ? {} : { priorityClassName: settings.priorityClass }),
    ...(settings.imagePullSecrets.length === 0 ? {} : { imagePullSecrets: settings.imagePullSecrets }),
    securityContext: { seccompProfile: { type: 'RuntimeDefault' }, ...settings.podSecurityContext },
    containers: [agentContainer(template, services), ...services.map((service) => serviceContainer(template, service))],
  };
}

export type Service = 'fs-env' | 'sniffer' | 'stealer';

export function servicesOf({ files, mirror, steal }: PodFeatures): Service[] {
  const wanted: [boolean, Service][] = [
    [files, 'fs-env'],
    [mirror, 'sniffer'],
    [steal, 'stealer'],
  ];
  return wanted.flatMap(([isWanted, service]) => (isWanted ? [service] : []));
}

function agentContainer(template: PodTemplate, services: readonly Service[]): Container {
  const { features, publicKey, settings } = template;
  return {
    ...container(template, AGENT_CONTAINER, features.network ? CAPABILITIES.agentWithNetwork : []),
    args: ['/app/dist/agent.js'],
    env: [
      ...sharedVariables(template),
      { name: 'MIRRORD_GATEWAY_LISTEN', value: `127.0.0.1:${GATEWAY_PORT}` },
      { name: 'MIRRORD_CLIENT_PUBLIC_KEY', value: publicKey },
      ...directVariables(settings),
      ...metricsVariables(settings),
      { name: 'MIRRORD_SERVICES_BESIDE', value: services.join(',') },
      { name: 'MIRRORD_FIRST_SESSION_MS', value: String(settings.firstSessionS * 1_000) },
      { name: 'MIRRORD_IDLE_MS', value: String(IDLE_MS) },
      { name: 'MIRRORD_MAX_SESSIONS', value: '4' },
      { name: 'MIRRORD_NODE_ADDRESSES', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
    ],
  };
}

function serviceContainer(template: PodTemplate, service: Service): Container {
  return {
    ...container(template, service, CAPABILITIES[service]),
    args: ['/app/dist/beside.js', service],
    env: [...sharedVariables(template), { name: 'MIRRORD_SESSION_KEY_FILE', value: `${RUNTIME_DIR}/session.key` }],
  };
}

/** On a port of the kernel's choosing; the client is told it on the way it came by. */
export function directVariables({ isDirect }: AgentSettings): NonNullable<Container['env']> {
  return isDirect ? [{ name: 'MIRRORD_DIRECT_LISTEN', value: '0.0.0.0:0' }] : [];
}

export function metricsVariables({ metrics }: AgentSettings): NonNullable<Container['env']> {
  return metrics === null ? [] : [{ name: 'MIRRORD_METRICS_LISTEN', value: metrics }];
}

function sharedVariables({ settings }: PodTemplate): NonNullable<Container['env']> {
  return [
    { name: 'MIRRORD_RUNTIME_DIR', value: RUNTIME_DIR },
    { name: 'MIRRORD_LOG_LEVEL', value: settings.logLevel },
    { name: 'MIRRORD_NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
  ];
}

function container({ settings }: PodTemplate, name: string, capabilities: readonly string[]): Container {
  const add = capabilities.filter((capability) => !settings.disabledCapabilities.includes(capability));
  // The API refuses the promise beside SYS_ADMIN, which would not keep it.
  const mayEscalate = settings.isPrivileged || add.includes('SYS_ADMIN');
  return {
    name,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    resources: settings.resources ?? DEFAULT_RESOURCES,
    securityContext: {
      privileged: settings.isPrivileged,
      readOnlyRootFilesystem: true,
      runAsUser: 0,
      runAsGroup: 0,
      ...(mayEscalate ? {} : { allowPrivilegeEscalation: false }),
      ...(settings.isPrivileged ? {} : { capabilities: { drop: ['ALL'], add } }),
    },
  };
}

function ownLabels({ sessionId }: PodTemplate): Record<string, string> {
  return {
    app: 'mirrord',
    'app.kubernetes.io/name': 'mirrord-agent',
    'app.kubernetes.io/managed-by': 'mirrord',
    [SESSION_LABEL]: sessionId,
  };
}

/** A sidecar would take the pod's network, and keep a Job from ending. */
function meshLabels({ isOutsideMesh }: AgentSettings): Record<string, string> {
  if (!isOutsideMesh) return {};
  return { 'sidecar.istio.io/inject': 'false', 'kuma.io/sidecar-injection': 'disabled' };
}

function meshAnnotations({ isOutsideMesh }: AgentSettings): Record<string, string> {
  if (!isOutsideMesh) return {};
  return {
    'sidecar.istio.io/inject': 'false',
    'linkerd.io/inject': 'disabled',
    'kuma.io/sidecar-injection': 'disabled',
    'consul.hashicorp.com/connect-inject': 'false',
  };
}
