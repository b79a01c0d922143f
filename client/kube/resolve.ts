// A target to the one container that is stood in for: the named object, one query for its pods that reads no more than it
// must, and the pod chosen. Never a list of all pods, nodes or namespaces, however large the cluster.

import { AppError } from '#proto/errors.ts';
import type { KubeApi } from './api.ts';
import { type Kind, kindRow, objectPath } from './kinds.ts';
import { notFound } from './not-found.ts';
import type { Pod, Service, Workload } from './objects.ts';
import { type ContainerChoice, chooseContainer } from './pod-choice.ts';
import { type Candidates, findPods } from './pod-query.ts';
import { toSelectorText } from './selector.ts';
import { isStatus } from './status.ts';
import {
  type ClusterTarget,
  formatClusterTarget,
  type LabelTarget,
  selectorOf,
  type WorkloadTarget,
} from './target.ts';

export interface ResolvedTarget {
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly node: string;
  readonly container: string;
  readonly containerId: string;
  readonly runtime: string;
  /** What was chosen among several, as sentences for the user; names of the cluster in them, not yet made printable. */
  readonly choices: readonly string[];
  readonly otherContainers: readonly string[];
  /** Pods that could have been chosen as well. */
  readonly otherPods: number;
  readonly object: Pod;
}

export interface ResolveOptions {
  readonly api: KubeApi;
  readonly target: WorkloadTarget | LabelTarget;
  /** null: that of the context. */
  readonly namespace: string | null;
  readonly signal?: AbortSignal;
}

/** That a job's pods bear its uid under since there are jobs (batch/v1 `generateSelector`). */
const JOB_LABEL = 'controller-uid';

/** Go's words for a selector that is none are `<none>` and `<error>`. */
const SELECTOR_TEXT = /^[^<>]+$/;
/** A pod that cannot be had after all (deleted a moment ago): how many others are tried. */
const MAX_TRIES = 3;

/** Where the first pod that looks ready is; more only while pods are not what they were said to be, or none of many is ready. */
export function callsToResolve(target: ClusterTarget): number {
  if (target.kind === 'targetless') return 0;
  if (target.kind === 'label') return 2;
  if (target.workload === 'pod') return 1;
  // A version that the server does not have; a workload that it stands for.
  return target.workload === 'cronjob' || target.workload === 'rollout' ? 4 : 3;
}

/**
 * Rejects with TARGET_NOT_FOUND (with the nearest names that exist), TARGET_GONE (nothing runs), UNSUPPORTED (the cluster
 * has no such API) or the cluster's own refusal.
 */
export async function resolveTarget(options: ResolveOptions): Promise<ResolvedTarget> {
  const context: Context = {
    api: options.api,
    namespace: options.namespace ?? options.api.access.namespace,
    call: options.signal === undefined ? {} : { signal: options.signal },
  };
  const { target } = options;
  if (target.kind === 'workload' && target.workload === 'pod') {
    const pod = await getObject<Pod>(context, 'pod', target.name);
    const choice = chooseContainer(pod, target.container);
    return resolved(context, pod, choice, 0, choice.isReady ? [] : [notReady(pod, choice)]);
  }
  if (target.kind === 'workload' && target.workload === 'cronjob') {
    return choosePod(context, target, await podsOfCronJob(context, target.name));
  }
  const { selector, replicas } = await selectorOfTarget(context, target);
  const candidates = await findPods({ ...context, selector, replicas });
  return choosePod(context, target, candidates);
}

interface Context {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly call: { readonly signal?: AbortSignal };
}

interface JobReference {
  readonly name?: string;
  readonly uid?: string;
}

interface PodSelector {
  readonly selector: string;
  /** null: not known. */
  readonly replicas: number | null;
}

async function selectorOfTarget(context: Context, target: WorkloadTarget | LabelTarget): Promise<PodSelector> {
  if (target.kind === 'label') return { selector: selectorOf(target.labels), replicas: null };
  const { workload, name } = target;
  switch (workload) {
    case 'service':
      return selectorOfService(await getObject<Service>(context, 'service', name));
    case 'rollout':
      return selectorOfRollout(context, await getObject<Workload>(context, 'rollout', name));
    default:
      return selectorOfWorkload(await getObject<Workload>(context, workload, name), `${workload}/${name}`);
  }
}

function selectorOfWorkload({ spec, status }: Workload, what: string): PodSelector {
  const selector = toSelectorText(spec?.selector);
  if (selector === null) throw new AppError('TARGET_NOT_FOUND', `${what} selects no pods: its selector is empty`);
  const active = typeof status?.active === 'number' ? status.active : undefined;
  return { selector, replicas: status?.replicas ?? status?.currentNumberScheduled ?? active ?? null };
}

function selectorOfService({ metadata, spec }: Service): PodSelector {
  const selector = toSelectorText({ matchLabels: spec?.selector ?? {} });
  if (selector !== null) return { selector, replicas: null };
  const kind = spec?.type === 'ExternalName' ? 'is only a name for another host' : 'has no selector';
  throw new AppError(
    'TARGET_NOT_FOUND',
    `service/${metadata.name ?? ''} ${kind}: no pod of this cluster stands behind it`,
    {
      data: { advice: 'name a pod or a deployment.' },
    },
  );
}

/**
 * Of the youngest of the jobs that it has running. The API server gives each job of a cron job a selector, and refuses one of the
 * user's: where the name that it has had ever since finds pods, the job need not be read.
 */
async function podsOfCronJob(context: Context, cronjob: string): Promise<Candidates> {
  const { status } = await getObject<Workload>(context, 'cronjob', cronjob);
  const active = Array.isArray(status?.active) ? (status.active as readonly JobReference[]) : [];
  const { name, uid } = active.at(-1) ?? {};
  if (name === undefined) {
    throw new AppError('TARGET_GONE', `no job of cronjob/${cronjob} runs now`, {
      data: { advice: `start one by hand: kubectl create job --from=cronjob/${cronjob} NAME, then --target job/NAME.` },
    });
  }
  if (uid !== undefined) {
    const found = await findPods({ ...context, selector: `${JOB_LABEL}=${uid}`, replicas: null });
    if (found.pods.length > 0) return found;
  }
  const job = selectorOfWorkload(await getObject<Workload>(context, 'job', name), `job/${name}`);
  return findPods({ ...context, ...job });
}

/** An Argo Rollout has a selector of its own, or stands for another workload, whose selector its controller repeats as text. */
async function selectorOfRollout(context: Context, rollout: Workload): Promise<PodSelector> {
  const what = `rollout/${rollout.metadata.name ?? ''}`;
  const { workloadRef } = rollout.spec ?? {};
  if (rollout.spec?.selector !== undefined || workloadRef === undefined) return selectorOfWorkload(rollout, what);
  const { selector: repeated, replicas } = rollout.status ?? {};
  if (repeated !== undefined && SELECTOR_TEXT.test(repeated)) return { selector: repeated, replicas: replicas ?? null };
  const kind = workloadRef.kind?.toLowerCase();
  if ((kind !== 'deployment' && kind !== 'replicaset') || workloadRef.name === undefined) {
    throw new AppError('UNSUPPORTED', `${what} stands for a ${workloadRef.kind ?? 'thing'}, whose pods we cannot find`);
  }
  const { selector } = selectorOfWorkload(await getObject<Workload>(context, kind, workloadRef.name), what);
  return { selector, replicas: rollout.status?.replicas ?? null };
}

async function choosePod(
  context: Context,
  target: WorkloadTarget | LabelTarget,
  { pods, hasMore, unfit }: Candidates,
): Promise<ResolvedTarget> {
  const what = `${formatClusterTarget(target)} in namespace ${context.namespace}`;
  const failures: AppError[] = [];
  for (const name of pods.slice(0, MAX_TRIES)) {
    try {
      const pod = await getObject<Pod>(context, 'pod', name);
      const choice = chooseContainer(pod, target.container);
      if (!choice.isReady) throw new AppError('TARGET_GONE', notReady(pod, choice));
      const others = pods.length - 1;
      const count = hasMore ? `more than ${others}` : String(others);
      const said =
        others === 0 ? [] : [`pod ${name} was chosen; ${count} other${others === 1 ? '' : 's'} of ${what} would do`];
      return resolved(context, pod, choice, others, said);
    } catch (error) {
      const failure = AppError.from(error, 'TARGET_GONE');
      if (failure.code !== 'TARGET_GONE' && !isStatus(unwrap(error), 404)) throw failure;
      failures.push(failure);
    }
  }
  const [first] = failures;
  const why = first === undefined ? unfit : first.message;
  throw new AppError('TARGET_GONE', `no pod of ${what} is ready to be targeted: ${why}`, {
    cause: first,
    data: { advice: 'wait until one is ready; a pod that is not can still be named: --target pod/NAME.' },
  });
}

function unwrap(error: unknown): unknown {
  return error instanceof AppError && error.cause !== undefined ? error.cause : error;
}

function resolved(
  { namespace }: Context,
  pod: Pod,
  choice: ContainerChoice,
  otherPods: number,
  said: readonly string[],
): ResolvedTarget {
  const { metadata, spec } = pod;
  if (!metadata.name || !metadata.uid || !spec?.nodeName) {
    throw new AppError('TARGET_GONE', `pod ${metadata.name ?? ''} is on no node yet`);
  }
  const { others } = choice;
  const listed =
    others.length > 5 ? `${others.slice(0, 5).join(', ')} and ${others.length - 5} more` : others.join(', ');
  const container = others.length === 0 ? [] : [`container ${choice.name} was chosen; the pod also has ${listed}`];
  return {
    namespace,
    pod: metadata.name,
    uid: metadata.uid,
    node: spec.nodeName,
    container: choice.name,
    containerId: choice.id,
    runtime: choice.runtime,
    choices: [...said, ...container],
    otherContainers: others,
    otherPods,
    object: pod,
  };
}

function notReady(pod: Pod, { name }: ContainerChoice): string {
  return `container ${name} of pod ${pod.metadata.name ?? ''} runs, but is not ready`;
}

/** Asks the newest version first; a server that does not know it is asked for the next. */
async function getObject<T>(context: Context, kind: Kind, name: string): Promise<T> {
  const { group, versions, resource } = kindRow(kind);
  const { api, namespace, call } = context;
  for (const [at, version] of versions.entries()) {
    try {
      return await api.get<T>(objectPath({ group, version, resource, namespace, name }), call);
    } catch (error) {
      if (!isStatus(error, 404)) throw error;
      if (error.isOfUnknownApi && at < versions.length - 1) continue;
      throw await notFound({ api, namespace, kind, version, name, error });
    }
  }
  throw new AppError('BUG', `kind ${kind} has no version`);
}
