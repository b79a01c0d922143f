// The agent in the pod of its target: asked for, waited for until it listens, and left to end by itself, because an ephemeral
// container cannot be taken away again.

import { AppError } from '#proto/errors.ts';
import type { KubeApi } from '../kube/api.ts';
import type { ContainerStatus, Pod } from '../kube/objects.ts';
import type { ResolvedTarget } from '../kube/resolve.ts';
import { isStatus } from '../kube/status.ts';
import type { AgentPod, StartStep } from './agent-pod.ts';
import { ephemeralContainer, gatewayPort, type ResourceList, requireEphemeral } from './ephemeral-container.ts';
import { AgentConnections } from './forward.ts';
import { explainRefusal } from './refusal.ts';
import type { Json, PodTemplate } from './template.ts';

export interface EphemeralOptions {
  readonly api: KubeApi;
  readonly found: ResolvedTarget;
  readonly template: PodTemplate;
  readonly startupS: number;
  readonly signal: AbortSignal;
  readonly onStep: (step: StartStep) => void;
}

const DISCOVERY_LIMIT_BYTES = 512 * 1024;
const LOG_LINES = 200;
const LOG_BYTES = 64 * 1024;

/** Rejects with UNSUPPORTED where the cluster has no such thing, the cluster's refusal, or why the container does not run. */
export async function startEphemeralAgent(options: EphemeralOptions): Promise<AgentPod> {
  const { api, found, template, startupS } = options;
  const { namespace, pod, container } = found;
  const giveUp = new AbortController();
  const signal = AbortSignal.any([options.signal, giveUp.signal]);
  const timer = setTimeout(() => giveUp.abort(), startupS * 1_000);
  const start = { ...options, signal, state: 'it has not been started' };
  const podPath = `/api/v1/namespaces/${namespace}/pods/${pod}`;
  try {
    const sentMs = Date.now();
    await addContainer(api, podPath, ephemeralContainer(template, container), signal);
    options.onStep('created');
    const startedMs = await containerRuns(start);
    const port = gatewayPort(template.sessionId);
    const connections = new AgentConnections({ api, namespace, pod, port });
    await connections.becomeReachable(signal);
    options.onStep('reached');
    return {
      name: `${pod} (container ${template.name})`,
      namespace,
      clockAheadMs: clockAhead(startedMs, sentMs, Date.now()),
      connect: (asked) => connections.connect(asked),
      readLog: () => readLog(api, `${podPath}/log`, template.name),
      remove: async () => connections.close(),
    };
  } catch (thrown) {
    const isLate = giveUp.signal.aborted && !options.signal.aborted;
    if (isLate) throw late(start);
    throw explainRefusal(thrown, namespace, pod);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The answer tells whether the server has such containers, so nobody need ask before: a server without them refuses, and their first
 * form takes nothing of what is sent and answers with an object of its own kind.
 */
async function addContainer(api: KubeApi, podPath: string, entry: Json, signal: AbortSignal): Promise<void> {
  const body = { spec: { ephemeralContainers: [entry] } };
  const discovered = () => api.get<ResourceList>('/api/v1', { signal, limitBytes: DISCOVERY_LIMIT_BYTES });
  try {
    const { kind } = await api.patch<Pod>(`${podPath}/ephemeralcontainers`, 'strategic-merge', body, { signal });
    if (kind !== 'Pod') requireEphemeral(await discovered());
  } catch (error) {
    // Whoever may not change what the server does not have need not ask for the right to.
    if (isStatus(error, 403) || (isStatus(error, 404) && error.isOfUnknownApi)) requireEphemeral(await discovered());
    throw error;
  }
}

/** Of the node, which the agent reads too: its container cannot have begun before we asked, nor later than now. */
function clockAhead(beganMs: number, fromMs: number, toMs: number): number {
  if (beganMs < fromMs) return beganMs - fromMs;
  return beganMs > toMs ? beganMs - toMs : 0;
}

interface Start extends EphemeralOptions {
  /** What it waits for, for the message at the deadline. */
  state: string;
}

/** Resolves with when the container began, by the node's clock. */
async function containerRuns(start: Start): Promise<number> {
  const { api, found, template, startupS, signal } = start;
  const query = { fieldSelector: `metadata.name=${found.pod}` };
  for (;;) {
    for await (const { type, object } of api.watch<Pod>(`/api/v1/namespaces/${found.namespace}/pods`, {
      query,
      timeoutS: Math.max(1, startupS),
      signal,
    })) {
      if (type === 'DELETED') throw new AppError('TARGET_GONE', `pod ${found.pod} was deleted while the agent started`);
      const status = object.status?.ephemeralContainerStatuses?.find(({ name }) => name === template.name);
      const began = beganAt(status, found.pod);
      if (typeof began === 'number') return began;
      start.state = began;
    }
  }
}

/** A moment, or what is waited for. Throws for a container that will never run. */
export function beganAt(status: ContainerStatus | undefined, pod: string): number | string {
  const { running, terminated, waiting } = status?.state ?? {};
  if (running !== undefined) return Date.parse(running.startedAt ?? '') || Date.now();
  if (terminated !== undefined) {
    const how = `${terminated.reason ?? 'no reason is given'}, exit code ${terminated.exitCode ?? '?'}`;
    throw new AppError('SERVICE_UNAVAILABLE', `the agent's container in pod ${pod} ended at once: ${how}`, {
      data: { advice: `its log says why: kubectl logs ${pod} -c NAME, as \`kubectl describe pod\` lists it.` },
    });
  }
  const reason = waiting?.reason ?? '';
  if (/^(?:ErrImage|InvalidImage|ImagePull|ImageInspect|Create|RunContainer)/.test(reason) && !/ing$/.test(reason)) {
    const said = waiting?.message === undefined ? '' : `: ${waiting.message}`;
    throw new AppError('SERVICE_UNAVAILABLE', `the agent's container in pod ${pod} cannot start (${reason})${said}`, {
      data: { move: 'user', advice: 'check agent.image, and that the node of the target can pull it.' },
    });
  }
  return reason === '' ? 'the node has not taken it up' : reason;
}

function late({ startupS, state, found }: Start): AppError {
  const what = `the agent's container in pod ${found.pod} was not ready within ${startupS} s: ${state}`;
  return new AppError('DEADLINE_EXCEEDED', what, {
    data: {
      move: 'cluster',
      advice: `\`kubectl describe pod ${found.pod}\` says more; agent.startup_timeout waits longer.`,
    },
  });
}

async function readLog(api: KubeApi, path: string, container: string): Promise<string> {
  try {
    return await api.getText(path, {
      query: { container, tailLines: LOG_LINES, limitBytes: LOG_BYTES },
      limitBytes: LOG_BYTES + 1024,
    });
  } catch (error) {
    return `the log of ${container} could not be read: ${AppError.from(error, 'SERVICE_UNAVAILABLE').message}\n`;
  }
}
