// The rights that a session needs, and whether this user has them (authorization.k8s.io/v1 SelfSubjectAccessReview). The Role
// of docs/kubernetes.md grants these and no others; a test holds the two together.

import type { KubeApi } from './api.ts';
import type { AccessReview } from './objects.ts';

export interface Right {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  /** Of the target, or of the agent's pod. */
  readonly where: 'target' | 'agent';
  /** What does not work without it. */
  readonly purpose: string;
  /** Something works without it. */
  readonly isOptional?: true;
}

const WORKLOADS: readonly (readonly [group: string, resource: string])[] = [
  ['apps', 'deployments'],
  ['apps', 'statefulsets'],
  ['apps', 'daemonsets'],
  ['apps', 'replicasets'],
  ['batch', 'jobs'],
  ['batch', 'cronjobs'],
  ['', 'services'],
];

export const RIGHTS: readonly Right[] = [
  { verb: 'get', group: '', resource: 'pods', where: 'target', purpose: 'any target' },
  { verb: 'list', group: '', resource: 'pods', where: 'target', purpose: 'targets that are not a pod' },
  ...WORKLOADS.flatMap(([group, resource]): Right[] => [
    { verb: 'get', group, resource, where: 'target', purpose: `${resource} as targets`, isOptional: true },
    { verb: 'list', group, resource, where: 'target', purpose: `${resource} in mirrord ls`, isOptional: true },
  ]),
  { verb: 'create', group: 'batch', resource: 'jobs', where: 'agent', purpose: 'starting the agent' },
  { verb: 'delete', group: 'batch', resource: 'jobs', where: 'agent', purpose: 'removing the agent at once' },
  { verb: 'list', group: 'batch', resource: 'jobs', where: 'agent', purpose: 'mirrord clean', isOptional: true },
  {
    verb: 'patch',
    group: 'batch',
    resource: 'jobs',
    where: 'agent',
    purpose: 'mirrord session stop telling who did it',
    isOptional: true,
  },
  { verb: 'get', group: '', resource: 'pods', where: 'agent', purpose: 'waiting for the agent' },
  { verb: 'list', group: '', resource: 'pods', where: 'agent', purpose: 'waiting for the agent' },
  { verb: 'watch', group: '', resource: 'pods', where: 'agent', purpose: 'waiting for the agent' },
  {
    verb: 'create',
    group: '',
    resource: 'pods',
    subresource: 'portforward',
    where: 'agent',
    purpose: 'reaching the agent',
  },
  // A WebSocket begins with a GET; newer servers want the right to create as well.
  {
    verb: 'get',
    group: '',
    resource: 'pods',
    subresource: 'portforward',
    where: 'agent',
    purpose: 'reaching the agent where a proxy lets no SPDY through',
    isOptional: true,
  },
  {
    verb: 'get',
    group: '',
    resource: 'pods',
    subresource: 'log',
    where: 'agent',
    purpose: 'why an agent did not start',
    isOptional: true,
  },
  {
    verb: 'list',
    group: '',
    resource: 'events',
    where: 'agent',
    purpose: 'which rule refused an agent',
    isOptional: true,
  },
];

export interface ReviewedRight extends Right {
  readonly namespace: string;
  /** null: the cluster would not say. */
  readonly isAllowed: boolean | null;
}

export interface Namespaces {
  readonly target: string;
  readonly agent: string;
}

/** Each opens a connection of its own while there is none that is free. */
const AT_ONCE = 4;

/** A few at a time; a right that cannot be asked about is unknown, not missing. */
export async function reviewRights(
  api: KubeApi,
  namespaces: Namespaces,
  rights: readonly Right[] = RIGHTS,
): Promise<ReviewedRight[]> {
  const reviewed: ReviewedRight[] = [];
  const waiting = [...rights.entries()];
  const review = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [at, right] = next;
      const namespace = namespaces[right.where];
      reviewed[at] = { ...right, namespace, isAllowed: await isAllowed(api, right, namespace) };
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, review));
  return reviewed;
}

async function isAllowed(api: KubeApi, right: Right, namespace: string): Promise<boolean | null> {
  const { verb, group, resource, subresource } = right;
  const resourceAttributes = {
    namespace,
    verb,
    group,
    resource,
    ...(subresource === undefined ? {} : { subresource }),
  };
  try {
    const review: AccessReview = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes },
    };
    const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    const { status } = await api.create<AccessReview>(path, review);
    return status?.allowed === true;
  } catch {
    return null;
  }
}

export function describeRight({ verb, group, resource, subresource }: Right): string {
  const full = subresource === undefined ? resource : `${resource}/${subresource}`;
  return `${verb} ${full}${group === '' ? '' : `.${group}`}`;
}
