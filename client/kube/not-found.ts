// An object that is not there: what is there under a name like it, from one page of a list, or that its namespace or its API
// is missing. Only asked once something has failed; a cluster that will not say more costs a few seconds at most.

import { AppError } from '#proto/errors.ts';
import { nearest } from '../config/nearest.ts';
import type { KubeApi } from './api.ts';
import { type Kind, kindRow, objectPath } from './kinds.ts';
import { firstNames } from './names.ts';
import { isStatus, type StatusError } from './status.ts';

export interface Missing {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly kind: Kind;
  readonly version: string;
  readonly name: string;
  readonly error: StatusError;
}

const HINT_DEADLINE_MS = 3_000;

export async function notFound(missing: Missing): Promise<AppError> {
  const { namespace, kind, name, error } = missing;
  const { group, versions, resource } = kindRow(kind);
  if (error.isOfUnknownApi) {
    const what = `the cluster has no ${resource}.${group}/${versions.join(' or ')}`;
    return new AppError('UNSUPPORTED', `${kind}/${name}: ${what}`, {
      cause: error,
      data: { move: 'user', exitCode: 2, advice: 'is it another cluster? Otherwise name a pod or a deployment.' },
    });
  }
  const context = missing.api.access.contextName;
  const where = `namespace ${namespace}${context === null ? '' : ` of context ${context}`}`;
  return new AppError('TARGET_NOT_FOUND', `there is no ${kind}/${name} in ${where}${await hint(missing)}`, {
    cause: error,
    data: {
      advice: '`mirrord ls` lists what can be targeted; -n chooses another namespace, --context another cluster.',
    },
  });
}

async function hint({ api, namespace, kind, version, name }: Missing): Promise<string> {
  const { group, resource } = kindRow(kind);
  const options = { deadlineMs: HINT_DEADLINE_MS };
  try {
    const [names, isMissing] = await Promise.all([
      firstNames(api, objectPath({ group, version, resource, namespace }), HINT_DEADLINE_MS),
      isNamespaceMissing(api, namespace, options),
    ]);
    if (isMissing) return ': that namespace does not exist';
    const like =
      nearest(name, names) ?? names.find((candidate) => candidate.includes(name) || name.includes(candidate));
    if (like !== undefined && like !== null) return `; did you mean ${kind}/${like}?`;
    if (names.length === 0) return `, nor any other ${kind}`;
    return '';
  } catch {
    // Whoever may not list gets the plain message.
    return '';
  }
}

async function isNamespaceMissing(api: KubeApi, namespace: string, options: { deadlineMs: number }): Promise<boolean> {
  try {
    await api.get(`/api/v1/namespaces/${encodeURIComponent(namespace)}`, options);
    return false;
  } catch (error) {
    return isStatus(error, 404);
  }
}
