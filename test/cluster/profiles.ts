// The definitions of profiles, which whoever runs a cluster installs; they go again with `removeProfiles`.

import { kubectl } from './cluster.ts';

const GROUP = 'profiles.mirrord.metalbear.co';
const KINDS = [
  { plural: 'mirrordclusterprofiles', kind: 'MirrordClusterProfile', scope: 'Cluster' },
  { plural: 'mirrordprofiles', kind: 'MirrordProfile', scope: 'Namespaced' },
] as const;
const DEFINITIONS = KINDS.map(({ plural }) => `${plural}.${GROUP}`);

/** Resolves when the API has them. */
export async function defineProfiles(): Promise<void> {
  const schema = {
    openAPIV3Schema: {
      type: 'object',
      properties: { spec: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
    },
  };
  const items = KINDS.map(({ plural, kind, scope }) => ({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope,
      names: { plural, kind },
      versions: [{ name: 'v1alpha', served: true, storage: true, schema }],
    },
  }));
  await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  await kubectl(['wait', '--for=condition=established', '--timeout=60s', 'crd', ...DEFINITIONS]);
}

/** A `kind` of these, for `kubectl apply`. */
export function profileObject(kind: (typeof KINDS)[number]['kind'], name: string, changes: readonly string[]): object {
  return {
    apiVersion: `${GROUP}/v1alpha`,
    kind,
    metadata: { name },
    spec: { featureAdjustments: changes.map((change) => ({ change })) },
  };
}

export async function removeProfiles(): Promise<void> {
  await kubectl(['delete', 'crd', '--ignore-not-found', ...DEFINITIONS]);
}
