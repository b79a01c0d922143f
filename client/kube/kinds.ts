// The kinds of objects that can be targets: what people call them, and where the API has them. Pure.

export type Kind =
  | 'pod'
  | 'deployment'
  | 'statefulset'
  | 'daemonset'
  | 'replicaset'
  | 'job'
  | 'cronjob'
  | 'service'
  | 'rollout';

export interface KindRow {
  readonly kind: Kind;
  readonly resource: string;
  /** Empty for the core group. */
  readonly group: string;
  /** The newest first; a server has one of them. */
  readonly versions: readonly string[];
  /** kubectl's other words for it. */
  readonly aliases: readonly string[];
}

export const KINDS: readonly KindRow[] = [
  { kind: 'pod', resource: 'pods', group: '', versions: ['v1'], aliases: ['po'] },
  { kind: 'deployment', resource: 'deployments', group: 'apps', versions: ['v1'], aliases: ['deploy'] },
  { kind: 'statefulset', resource: 'statefulsets', group: 'apps', versions: ['v1'], aliases: ['sts'] },
  { kind: 'daemonset', resource: 'daemonsets', group: 'apps', versions: ['v1'], aliases: ['ds'] },
  { kind: 'replicaset', resource: 'replicasets', group: 'apps', versions: ['v1'], aliases: ['rs'] },
  { kind: 'job', resource: 'jobs', group: 'batch', versions: ['v1'], aliases: [] },
  // v1 since Kubernetes 1.21, v1beta1 until 1.24.
  { kind: 'cronjob', resource: 'cronjobs', group: 'batch', versions: ['v1', 'v1beta1'], aliases: ['cj'] },
  { kind: 'service', resource: 'services', group: '', versions: ['v1'], aliases: ['svc'] },
  { kind: 'rollout', resource: 'rollouts', group: 'argoproj.io', versions: ['v1alpha1'], aliases: ['ro'] },
];

/** By any of its names: `deployment`, `deployments`, `deploy`, `deployments.apps`. */
export function findKind(word: string): KindRow | null {
  const lower = word.toLowerCase();
  return KINDS.find((row) => namesOf(row).includes(lower)) ?? null;
}

function namesOf({ kind, resource, group, aliases }: KindRow): string[] {
  const names = [kind, resource, ...aliases];
  return group === '' ? names : [...names, `${kind}.${group}`, `${resource}.${group}`];
}

export function kindRow(kind: Kind): KindRow {
  const row = KINDS.find((candidate) => candidate.kind === kind);
  if (row === undefined) throw new Error(`kind ${kind} has no row`);
  return row;
}

export interface Place {
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  /** null for what belongs to no namespace, or for all of them. */
  readonly namespace: string | null;
  /** null for the list. */
  readonly name?: string | null;
  readonly subresource?: string;
}

/** `/apis/apps/v1/namespaces/shop/deployments/web/scale`; names are escaped. */
export function objectPath({ group, version, resource, namespace, name, subresource }: Place): string {
  return [
    group === '' ? '/api' : `/apis/${group}`,
    version,
    ...(namespace === null ? [] : ['namespaces', encodeURIComponent(namespace)]),
    resource,
    ...(name == null ? [] : [encodeURIComponent(name)]),
    ...(subresource === undefined ? [] : [subresource]),
  ].join('/');
}
