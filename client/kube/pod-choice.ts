// Which container of a pod is meant, and whether it can be stood in for. Pure.

import { AppError } from '#proto/errors.ts';
import { nearest } from '../config/nearest.ts';
import type { ContainerStatus, Pod } from './objects.ts';

/** Names that meshes and secret stores give the containers they add. */
const ADDED_CONTAINERS: ReadonlySet<string> = new Set([
  'kuma-sidecar',
  'kuma-init',
  'istio-proxy',
  'istio-init',
  'linkerd-proxy',
  'linkerd-init',
  'vault-agent',
  'vault-agent-init',
  'queue-proxy',
  'traffic-agent',
]);
const DEFAULT_CONTAINER = 'kubectl.kubernetes.io/default-container';
const CONTAINER_ID = /^([a-z0-9.-]+):\/\/([\w.-]{1,128})$/;

export interface ContainerChoice {
  readonly name: string;
  readonly id: string;
  /** `containerd`, `cri-o`, `docker` … */
  readonly runtime: string;
  readonly isReady: boolean;
  /** That could have been meant as well; empty where it was named. */
  readonly others: readonly string[];
}

/** Throws TARGET_NOT_FOUND for a name that is not there, TARGET_GONE for a container that does not run. */
export function chooseContainer(pod: Pod, wanted: string | null): ContainerChoice {
  const place = `pod ${pod.metadata.name ?? ''}`;
  const { phase } = pod.status ?? {};
  if (pod.metadata.deletionTimestamp !== undefined) throw gone(`${place} is being deleted`);
  const status = wanted === null ? preferred(pod) : named(pod, wanted, place);
  if (status === null) throw gone(`${place} has no container that was started (phase ${phase ?? 'unknown'})`);
  if (status.state?.running === undefined) {
    throw gone(`container ${status.name} of ${place} does not run: ${stateOf(status, phase)}`);
  }
  const [, runtime = '', id = ''] = CONTAINER_ID.exec(status.containerID ?? '') ?? [];
  if (id === '') throw gone(`container ${status.name} of ${place} has no id yet`);
  const statuses = pod.status?.containerStatuses ?? [];
  const others = wanted === null ? statuses.map(({ name }) => name).filter((name) => name !== status.name) : [];
  return { name: status.name, id, runtime, isReady: status.ready === true, others };
}

function named(pod: Pod, wanted: string, place: string): ContainerStatus {
  const all = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
    ...(pod.status?.ephemeralContainerStatuses ?? []),
  ];
  const found = all.find(({ name }) => name === wanted);
  if (found !== undefined) return found;
  const names = all.map(({ name }) => name);
  const near = nearest(wanted, names);
  const hint = near === null ? `it has ${names.join(', ') || 'none'}` : `did you mean ${near}?`;
  throw new AppError('TARGET_NOT_FOUND', `${place} has no container ${JSON.stringify(wanted)}; ${hint}`, {
    data: { advice: 'correct the name after /container/, or leave it out.' },
  });
}

function preferred(pod: Pod): ContainerStatus | null {
  const statuses = pod.status?.containerStatuses ?? [];
  const annotated = pod.metadata.annotations?.[DEFAULT_CONTAINER];
  // Statuses are sorted by name; the first is the first of the specification.
  const order = (pod.spec?.containers ?? []).map(({ name }) => name);
  const sorted = [...statuses].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  return (
    sorted.find(({ name }) => name === annotated) ??
    sorted.find(({ name }) => !ADDED_CONTAINERS.has(name)) ??
    sorted[0] ??
    null
  );
}

export function stateOf({ state }: ContainerStatus, phase: string | undefined): string {
  if (state?.waiting !== undefined) return state.waiting.reason ?? 'waiting';
  if (state?.terminated !== undefined) {
    return `${state.terminated.reason ?? 'terminated'} (exit code ${state.terminated.exitCode ?? 'unknown'})`;
  }
  return phase ?? 'unknown state';
}

function gone(message: string): AppError {
  return new AppError('TARGET_GONE', message, {
    data: { advice: 'wait until it runs (`kubectl get pod` shows why it does not), or name another pod.' },
  });
}
