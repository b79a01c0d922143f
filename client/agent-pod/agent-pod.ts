// One agent for one session in a cluster: made as a Job, waited for until it listens, reached through the cluster's API, and
// removed. Should we not get to removing it, it ends itself and the cluster removes it.

import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '#proto/errors.ts';
import type { KubeApi } from '../kube/api.ts';
import type { Job } from '../kube/objects.ts';
import { isStatus } from '../kube/status.ts';
import { withResolvers } from '../with-resolvers.ts';
import { AgentConnections } from './forward.ts';
import { podState } from './pod-state.ts';
import { explainFailedCreate, explainRefusal, isOfPassingTrouble } from './refusal.ts';
import { AGENT_CONTAINER, agentJob, GATEWAY_PORT, type PodTemplate } from './template.ts';
import type { AgentWatch } from './watch.ts';

export interface AgentPod {
  readonly name: string;
  readonly namespace: string;
  /** How far the cluster's clock is before ours: what we date, it compares with its own. */
  readonly clockAheadMs: number;
  /** A connection to the agent's gateway. */
  connect(signal: AbortSignal): Promise<Duplex>;
  /** The end of the agent's log; empty where it cannot be had. */
  readLog(): Promise<string>;
  /** Idempotent. Rejects when the cluster could not be told; it will then remove the pod by itself. */
  remove(): Promise<void>;
}

export interface StartOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly template: PodTemplate;
  readonly startupS: number;
  readonly signal: AbortSignal;
  /** Of the pod that is not there yet; it is ended. */
  readonly watch: AgentWatch;
  /** How far it has come. */
  readonly onStep: (step: StartStep) => void;
}

export type StartStep = 'created' | 'scheduled' | 'reached';

interface Start extends StartOptions {
  /** What the pod waits for, for the message at the deadline. */
  state: string;
  podName: string | null;
}

/** The Job's controller makes the pod within a second; when there is none after this, it was refused. */
const LOOK_FOR_EVENTS_MS = 1_500;
const REMOVE_DEADLINE_MS = 10_000;
const SILENT = 'its containers run, but no agent answers in them; is agent.image the image of mirrord?';
const LOG_LINES = 200;
const LOG_BYTES = 64 * 1024;

/** Rejects with why there is no agent; the Job is removed then. */
export async function startAgentPod(options: StartOptions): Promise<AgentPod> {
  const { api, namespace, template } = options;
  const giveUp = new AbortController();
  const signal = AbortSignal.any([options.signal, giveUp.signal]);
  const start: Start = { ...options, signal, state: 'its pod has not been made', podName: null };
  const timer = setTimeout(() => giveUp.abort(), options.startupS * 1_000);
  let isRemoved = false;
  const remove = async () => {
    if (isRemoved) return;
    await removeJob(api, namespace, template.name);
    isRemoved = true;
  };
  try {
    const clockAheadMs = await createJob(start);
    options.onStep('created');
    const connections = await connectionsOf(start);
    options.onStep('reached');
    return {
      name: start.podName ?? '',
      namespace,
      clockAheadMs,
      connect: (asked) => connections.connect(asked),
      readLog: () => readLog(api, namespace, start.podName),
      remove: async () => {
        connections.close();
        await remove();
      },
    };
  } catch (thrown) {
    const error = explainRefusal(thrown, namespace);
    const isLate = giveUp.signal.aborted && !options.signal.aborted;
    const failure = isLate ? late(start) : error;
    const log = await readLog(api, namespace, start.podName);
    await remove().catch(() => {
      // What is left ends itself: nobody comes. The failure is what the user wants to know.
    });
    throw new AppError(failure.code, failure.message, { cause: thrown, data: { ...failure.data, agentLog: log } });
  } finally {
    clearTimeout(timer);
    giveUp.abort();
    options.watch.end();
  }
}

/** Resolves with how far the cluster's clock is ahead. */
async function createJob({ api, namespace, template, signal }: Start): Promise<number> {
  const jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  let sentMs = 0;
  const create = () => {
    sentMs = Date.now();
    return api.create<Job>(jobs, agentJob(template), { signal });
  };
  const job = await api.patiently(create, { signal }).catch((error: unknown) => {
    // Its name is nobody else's: the answer of the time before did not come.
    if (isStatus(error, 409)) return api.get<Job>(`${jobs}/${template.name}`, { signal });
    throw error;
  });
  const halfwayMs = (sentMs + Date.now()) / 2;
  const createdMs = Date.parse(job.metadata?.creationTimestamp ?? '');
  // In whole seconds, cut.
  return Number.isNaN(createdMs) ? 0 : createdMs + 500 - halfwayMs;
}

/** Three watchers of one start: the first that knows how it ends decides. */
async function connectionsOf(start: Start): Promise<AgentConnections> {
  const done = new AbortController();
  const signal = AbortSignal.any([start.signal, done.signal]);
  const watched: Start = { ...start, signal };
  const scheduled = withResolvers<string>();
  const running = new AbortController();
  const settle = (state: string, podName: string | null) => {
    start.state = state;
    start.podName = podName ?? start.podName;
    watched.podName = start.podName;
  };
  const reach = async () => {
    const pod = await scheduled.promise;
    start.onStep('scheduled');
    const connections = new AgentConnections({ api: start.api, namespace: start.namespace, pod, port: GATEWAY_PORT });
    await connections.becomeReachable(signal, running.signal);
    return connections;
  };
  const all = [watchPod(watched, settle, scheduled.resolve, () => running.abort()), findRefusal(watched), reach()];
  for (const one of all) one.catch(() => {});
  try {
    return (await Promise.race(all)) as AgentConnections;
  } finally {
    done.abort();
  }
}

/** Rejects when the pod is over, or the watch cannot be had; does not resolve. */
async function watchPod(
  { watch }: Start,
  settle: (state: string, podName: string | null) => void,
  onScheduled: (pod: string) => void,
  onRunning: () => void,
): Promise<never> {
  for (;;) {
    for await (const { type, object } of watch.next()) {
      const name = object.metadata.name ?? null;
      if (type === 'DELETED') throw new AppError('AGENT_LOST', `the agent's pod ${name} was deleted`);
      const state = podState(object);
      settle(state.kind === 'running' ? SILENT : state.kind === 'starting' ? state.what : state.kind, name);
      if (state.kind === 'over') throw state.error;
      if (object.spec?.nodeName && name !== null) onScheduled(name);
      if (state.kind === 'running') onRunning();
    }
  }
}

/** Rejects when the cluster has refused the pod, which only an event tells; does not resolve. */
async function findRefusal(start: Start): Promise<never> {
  const { api, namespace, template, signal } = start;
  const fieldSelector = `involvedObject.name=${template.name},reason=FailedCreate`;
  for (;;) {
    await sleep(LOOK_FOR_EVENTS_MS, undefined, { signal });
    if (start.podName !== null) continue;
    const words = await api
      .get<{ items?: { message?: string }[] }>(`/api/v1/namespaces/${namespace}/events`, {
        query: { fieldSelector, limit: 5 },
        signal,
      })
      .then(
        ({ items = [] }) => items.map(({ message = '' }) => message).findLast((one) => !isOfPassingTrouble(one)),
        // Who may not read events is told so at the deadline.
        () => undefined,
      );
    if (words === undefined) continue;
    throw explainFailedCreate(words, namespace);
  }
}

function late({ startupS, state, namespace, podName, template }: Start): AppError {
  const what = podName ?? `job ${template.name}`;
  return new AppError('DEADLINE_EXCEEDED', `the agent (${what}) was not ready within ${startupS} s: ${state}`, {
    data: {
      move: 'cluster',
      advice: `\`kubectl describe pod -n ${namespace} -l app=mirrord\` and the events of the namespace say more; agent.startup_timeout waits longer.`,
    },
  });
}

async function removeJob(api: KubeApi, namespace: string, name: string): Promise<void> {
  const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background' };
  await api.delete(`/apis/batch/v1/namespaces/${namespace}/jobs/${name}`, body, { deadlineMs: REMOVE_DEADLINE_MS });
}

async function readLog(api: KubeApi, namespace: string, podName: string | null): Promise<string> {
  if (podName === null) return '';
  try {
    return await api.getText(`/api/v1/namespaces/${namespace}/pods/${podName}/log`, {
      query: { container: AGENT_CONTAINER, tailLines: LOG_LINES, limitBytes: LOG_BYTES },
      limitBytes: LOG_BYTES + 1024,
    });
  } catch (error) {
    return `the log of ${podName} could not be read: ${AppError.from(error, 'SERVICE_UNAVAILABLE').message}\n`;
  }
}
