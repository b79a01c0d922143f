import * as library from '@kubernetes/client-node';
import { describe, expect, test } from 'vitest';
import type { Pod } from '../kube/objects.ts';
import type { ResolvedTarget } from '../kube/resolve.ts';
import { loadText } from '../testing/load-text.ts';
import { ephemeralContainer, ephemeralTarget, gatewayPort } from './ephemeral-container.ts';
import { agentSettings } from './settings.ts';
import { GATEWAY_PORT, type PodFeatures, type PodTemplate } from './template.ts';

const FILES: PodFeatures = { files: true, network: true, mirror: false, steal: false };

async function templateOf(agent: object = {}, features = FILES): Promise<PodTemplate> {
  const { config } = await loadText(JSON.stringify({ agent }), { env: {} });
  return {
    name: 'mirrord-agent-x',
    sessionId: 'session-x',
    publicKey: 'UFVCTElD',
    node: 'node1',
    version: '1.2.3',
    annotations: {},
    features,
    settings: agentSettings(config, {}),
  };
}

/** `Foo`, `Array<Foo>`, as the published OpenAPI of Kubernetes names the types of fields. */
function fieldsOf(type: string): Map<string, string> | null {
  const model = Object(library)[type] as { getAttributeTypeMap?(): { baseName: string; type: string }[] } | undefined;
  const map = model?.getAttributeTypeMap?.();
  return map === undefined ? null : new Map(map.map((field) => [field.baseName, field.type]));
}

/** Paths of what the type does not have. */
function unknownFields(value: unknown, type: string, path: string): string[] {
  const item = /^Array<(.*)>$/.exec(type)?.[1];
  if (item !== undefined) {
    if (!Array.isArray(value)) return [`${path} is no list`];
    return value.flatMap((one, at) => unknownFields(one, item, `${path}[${at}]`));
  }
  const fields = fieldsOf(type);
  if (fields === null) return typeof value === type ? [] : [`${path} is no ${type}`];
  return Object.entries(Object(value)).flatMap(([name, one]) => {
    const of = fields.get(name);
    return of === undefined ? [`${path}.${name}`] : unknownFields(one, of, `${path}.${name}`);
  });
}

describe('what an API server of 1.25 and newer takes', () => {
  /** Kubernetes: an ephemeral container may have no others (validation of core/v1: allowedEphemeralContainerFields). */
  const ALLOWED =
    'name image command args workingDir envFrom env volumeMounts volumeDevices terminationMessagePath ' +
    'terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty targetContainerName';
  const CASES: readonly [string, object, Partial<PodFeatures>][] = [
    ['files and connections', {}, {}],
    ['all that arrives', {}, { mirror: true, steal: true }],
    ['nothing', {}, { files: false, network: false }],
    ['privileged', { privileged: true }, { steal: true }],
    ['a connection of its own', { direct_connection: true }, {}],
    ['metrics', { metrics: '0.0.0.0:9000' }, {}],
    ['less than it wants', { disabled_capabilities: ['SYS_ADMIN'] }, { mirror: true }],
  ];

  test.each(CASES)('%s', async (_, agent, features) => {
    const container = ephemeralContainer(await templateOf(agent, { ...FILES, ...features }), 'web');
    const sent = JSON.parse(JSON.stringify(container)) as Record<string, unknown>;
    expect(unknownFields(sent, 'V1EphemeralContainer', 'container')).toEqual([]);
    expect(Object.keys(sent).filter((field) => !ALLOWED.split(' ').includes(field))).toEqual([]);
    expect(sent['name']).toMatch(/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/);
    expect(['Always', 'IfNotPresent', 'Never']).toContain(sent['imagePullPolicy']);
    const names = (sent['env'] as { name: string }[]).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    const { privileged, allowPrivilegeEscalation, capabilities } = sent['securityContext'] as {
      privileged: boolean;
      allowPrivilegeEscalation?: boolean;
      capabilities?: { add: string[] };
    };
    // The API refuses the promise beside either.
    const mayEscalate = privileged || capabilities?.add.includes('SYS_ADMIN') === true;
    expect(mayEscalate && allowPrivilegeEscalation === false).toBe(false);
  });
});

test('it gets the rights of its parts, no secret, and a port of its own on the loopback of the pod', async () => {
  const container = ephemeralContainer(await templateOf(), 'web') as unknown as {
    securityContext: { capabilities: { add: string[]; drop: string[] } };
    env: { name: string; value?: string }[];
  };
  const { add, drop } = container.securityContext.capabilities;
  expect(drop).toEqual(['ALL']);
  expect(add).toEqual([...new Set(add)]);
  expect(add).toEqual(expect.arrayContaining(['SYS_PTRACE', 'SYS_ADMIN', 'DAC_READ_SEARCH']));
  expect(add).not.toContain('NET_RAW');
  const variables = Object.fromEntries(container.env.map(({ name, value }) => [name, value]));
  expect(variables['MIRRORD_GATEWAY_LISTEN']).toBe(`127.0.0.1:${gatewayPort('session-x')}`);
  expect(variables['MIRRORD_WITH_SERVICES']).toBe('fs-env');
  expect(Object.keys(variables).filter((name) => /SECRET|TOKEN|SESSION_KEY/.test(name))).toEqual([]);
  for (const key of ['volumeMounts', 'resources', 'ports', 'livenessProbe']) expect(container).not.toHaveProperty(key);
});

test('no agent listens on a port that Linux gives to outgoing connections', () => {
  const ports = [...Array(2_000).keys()].map((n) => gatewayPort(`session-${n}`));
  expect(new Set(ports).size).toBeGreaterThan(400);
  for (const port of [GATEWAY_PORT, ...ports]) {
    expect(port).toBeGreaterThan(1_024);
    expect(port).toBeLessThan(32_768);
  }
});

test('the target is the first process the agent sees, or found by its container where all are seen', () => {
  const object = { metadata: { name: 'shop-1' } } as Pod;
  const found = { container: 'web', containerId: 'containerd://abc', object } as ResolvedTarget;
  expect(ephemeralTarget(found)).toEqual({ kind: 'pid', pid: 1 });
  const sharing = { ...object, spec: { shareProcessNamespace: true } };
  expect(ephemeralTarget({ ...found, object: sharing })).toEqual({ kind: 'container', name: 'abc' });
});
