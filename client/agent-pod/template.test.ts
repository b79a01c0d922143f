import { expect, test } from 'vitest';
import { loadText } from '../testing/load-text.ts';
import { agentSettings } from './settings.ts';
import { agentJob, GATEWAY_PORT, type PodFeatures } from './template.ts';

const ALL: PodFeatures = { files: true, network: true, mirror: true, steal: true };
const NONE: PodFeatures = { files: false, network: false, mirror: false, steal: false };

interface Job {
  metadata: { name: string; labels: Record<string, string>; annotations: Record<string, string> };
  spec: Record<string, unknown> & { template: { metadata: Job['metadata']; spec: Pod } };
}
type Pod = Record<string, unknown> & { containers: Container[] };
interface Container {
  name: string;
  image: string;
  args: string[];
  env: { name: string; value?: string; valueFrom?: unknown }[];
  resources: unknown;
  securityContext: Record<string, unknown> & { capabilities?: { drop: string[]; add: string[] } };
}

async function jobOf({
  agent = {},
  features = ALL,
  node = 'node1' as string | null,
  env = {} as NodeJS.ProcessEnv,
} = {}): Promise<Job> {
  const { config } = await loadText(JSON.stringify({ agent }), { env });
  const settings = agentSettings(config, env);
  const names = {
    name: 'mirrord-agent-x',
    sessionId: 'session-x',
    publicKey: 'UFVCTElD',
    version: '1.2.3',
    annotations: {},
  };
  return agentJob({ ...names, node, features, settings }) as unknown as Job;
}

const podOf = async (given: Parameters<typeof jobOf>[0] = {}) => (await jobOf(given)).spec.template.spec;

test('the cluster ends and removes it by itself', async () => {
  const { spec } = await jobOf({ agent: { ttl: 7 } });
  expect(spec).toMatchObject({ backoffLimit: 5, ttlSecondsAfterFinished: 7, activeDeadlineSeconds: 86_400 });
  expect(spec.template.spec).toMatchObject({ restartPolicy: 'OnFailure' });
});

test('it has a container for each feature of the session, and no other', async () => {
  expect((await podOf({ features: NONE })).containers.map(({ name }) => name)).toEqual(['agent']);
  expect((await podOf()).containers.map(({ name }) => name)).toEqual(['agent', 'fs-env', 'sniffer', 'stealer']);
});

test('each container has named capabilities and nothing that it does not use', async () => {
  const { containers } = await podOf();
  const added = Object.fromEntries(containers.map((one) => [one.name, one.securityContext.capabilities?.add]));
  expect(added['agent']).toEqual(['SYS_ADMIN', 'SYS_PTRACE', 'SETPCAP']);
  expect(added['fs-env']).not.toContain('SYS_ADMIN');
  expect(added['fs-env']).not.toContain('NET_ADMIN');
  expect(added['sniffer']).toEqual(['SYS_ADMIN', 'SYS_PTRACE', 'NET_RAW', 'NET_ADMIN']);
  // It never reads a packet.
  expect(added['stealer']).toEqual(['SYS_ADMIN', 'SYS_PTRACE', 'NET_ADMIN']);
  for (const { securityContext } of containers) {
    expect(securityContext).toMatchObject({ privileged: false, readOnlyRootFilesystem: true });
    expect(securityContext.capabilities?.drop).toEqual(['ALL']);
  }
  const [agent] = (await podOf({ features: { ...NONE, files: true } })).containers;
  expect(agent?.securityContext).toMatchObject({ capabilities: { add: [] }, allowPrivilegeEscalation: false });
  const [without] = (await podOf({ agent: { disabled_capabilities: ['SYS_ADMIN'] } })).containers;
  expect(without?.securityContext.capabilities?.add).toEqual(['SYS_PTRACE', 'SETPCAP']);
});

test('it mounts nothing of the node, has no account and answers on its loopback only', async () => {
  const pod = await podOf();
  expect(pod).toMatchObject({ hostPID: true, nodeName: 'node1', automountServiceAccountToken: false });
  expect(pod).not.toHaveProperty('hostNetwork');
  expect(JSON.stringify(pod)).not.toMatch(/hostPath|hostIPC|secretKeyRef/);
  const env = pod.containers[0]?.env ?? [];
  expect(env).toContainEqual({ name: 'MIRRORD_GATEWAY_LISTEN', value: `127.0.0.1:${GATEWAY_PORT}` });
  expect(env).toContainEqual({ name: 'MIRRORD_CLIENT_PUBLIC_KEY', value: 'UFVCTElD' });
});

test('without a target it goes where others may go', async () => {
  const pod = await podOf({ node: null, agent: { node_selector: { disk: 'ssd' } } });
  expect(pod).not.toHaveProperty('nodeName');
  expect(pod).toMatchObject({ nodeSelector: { disk: 'ssd' }, tolerations: [] });
});

test('meshes are told to keep out of it, unless they are asked in', async () => {
  const { metadata, spec } = await jobOf();
  for (const { labels, annotations } of [metadata, spec.template.metadata]) {
    expect(annotations).toMatchObject({ 'sidecar.istio.io/inject': 'false', 'linkerd.io/inject': 'disabled' });
    expect(labels).toMatchObject({ 'sidecar.istio.io/inject': 'false', 'mirrord.dev/session': 'session-x' });
  }
  const within = await jobOf({ agent: { disable_mesh_sidecar_injection: false } });
  expect(JSON.stringify(within)).not.toContain('istio');
});

test('what the configuration says stands in it', async () => {
  const agent = {
    image: { registry: 'registry.example/agent', tag: '9' },
    image_pull_policy: 'Always',
    image_pull_secrets: [{ name: 'pull' }],
    tolerations: [],
    resources: { limits: { memory: '1Gi' } },
    labels: { team: 'a', app: 'mine' },
    annotations: { note: 'b' },
    service_account: 'account',
    priority_class: 'low',
    privileged: true,
    security_context: { seccomp_profile: { type: 'Localhost', localhost_profile: 'p.json' } },
  };
  const { metadata, spec } = await jobOf({ agent });
  expect(metadata.labels).toMatchObject({ team: 'a', app: 'mirrord' });
  expect(metadata.annotations).toMatchObject({ note: 'b' });
  expect(spec.template.spec).toMatchObject({
    imagePullSecrets: [{ name: 'pull' }],
    tolerations: [],
    serviceAccountName: 'account',
    priorityClassName: 'low',
    securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'p.json' } },
  });
  for (const container of spec.template.spec.containers) {
    expect(container).toMatchObject({
      image: 'registry.example/agent:9',
      imagePullPolicy: 'Always',
      resources: { limits: { memory: '1Gi' } },
      securityContext: { privileged: true },
    });
    expect(container.securityContext).not.toHaveProperty('capabilities');
  }
});

test('its variables and times are those of the configuration', async () => {
  const pod = await podOf({
    agent: {
      log_level: 'debug',
      communication_timeout: 5,
      direct_connection: true,
      metrics: '[::]:9000',
      security_context: { app_armor_profile: { type: 'Unconfined' } },
    },
  });
  const [agent, ...services] = pod.containers;
  const variables = Object.fromEntries((agent?.env ?? []).map(({ name, value }) => [name, value]));
  expect(variables).toMatchObject({
    MIRRORD_FIRST_SESSION_MS: '5000',
    MIRRORD_DIRECT_LISTEN: '0.0.0.0:0',
    MIRRORD_METRICS_LISTEN: '[::]:9000',
  });
  for (const { env } of pod.containers) expect(env).toContainEqual({ name: 'MIRRORD_LOG_LEVEL', value: 'debug' });
  expect(services.every(({ env }) => !env.some(({ name }) => name === 'MIRRORD_DIRECT_LISTEN'))).toBe(true);
  expect(pod).toMatchObject({ securityContext: { appArmorProfile: { type: 'Unconfined' } } });
});

test.each([
  { nftables: true },
  { external_ip_fix: false },
  { exclude_from_mesh: true },
  { clean_iptables_on_start: true },
  { json_log: true },
  { check_out_of_pods: false },
])('%o changes nothing, and who sets it is told why', async (agent) => {
  const { warnings } = await loadText(JSON.stringify({ agent }), { env: {} });
  expect(warnings.join()).toContain(`agent.${Object.keys(agent)[0]}`);
  expect(await jobOf({ agent })).toEqual(await jobOf());
});

test.each([
  ['warn', 'warn'],
  ['ERROR', 'error'],
  ['off', 'silent'],
  ['mirrord=debug,warn', 'warn'],
  ['mirrord_agent=trace', 'trace'],
])('a log level of %s is %s', async (text, level) => {
  const { containers } = await podOf({ agent: { log_level: text } });
  for (const { env } of containers) expect(env).toContainEqual({ name: 'MIRRORD_LOG_LEVEL', value: level });
});

test('a log level that nobody knows is refused, with those that are known', async () => {
  await expect(podOf({ agent: { log_level: 'bad' } })).rejects.toThrow(
    'agent.log_level: "bad" is not one of trace, debug, info, warn, error, silent, off',
  );
});

test('an image is named whole, or in parts by file or variables', async () => {
  const imageOf = async (image: unknown, env: NodeJS.ProcessEnv = {}) =>
    (await podOf({ agent: image === null ? {} : { image }, env })).containers[0]?.image;
  expect(await imageOf(null)).toMatch(/^mirrord\/agent:\d/);
  expect(await imageOf('x/y:z', { MIRRORD_AGENT_IMAGE_TAG: '1' })).toBe('x/y:z');
  expect(await imageOf({ registry: 'x' }, { MIRRORD_AGENT_IMAGE_TAG: '1' })).toBe('x:1');
  expect(await imageOf(null, { MIRRORD_AGENT_IMAGE_REGISTRY: 'r', MIRRORD_AGENT_IMAGE_TAG: '2' })).toBe('r:2');
  expect(await imageOf('x', { MIRRORD_AGENT_IMAGE: 'variable' })).toBe('variable');
  await expect(imageOf({ repo: 'x' })).rejects.toThrow('agent.image: "repo" is neither registry nor tag');
});
