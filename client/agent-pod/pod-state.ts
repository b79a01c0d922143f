// What the state of the agent's pod means for who waits for it: still on its way, running, or over, and then whose move it is.
// Pure.

import { AppError, type AppErrorOptions } from '#proto/errors.ts';
import type { ContainerStatus, Pod, Terminated } from '../kube/objects.ts';

export type PodState =
  | { readonly kind: 'starting'; readonly what: string }
  | { readonly kind: 'running'; readonly name: string }
  | { readonly kind: 'over'; readonly error: AppError };

const IMAGE = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'ErrImageNeverPull',
  'ImageInspectError',
]);
const CONTAINER = new Set([
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'CrashLoopBackOff',
]);

export function podState(pod: Pod): PodState {
  const { metadata, status } = pod;
  const name = metadata.name ?? '';
  const containers = status?.containerStatuses ?? [];
  // While it starts none is expected to end, though the node would start it anew.
  if (containers.some((one) => lastEnd(one) !== undefined)) return { kind: 'over', error: endedPod(pod) };
  const broken = containers.map((one) => brokenContainer(name, one)).find((error) => error !== null);
  if (broken !== undefined) return { kind: 'over', error: broken };
  if (status?.phase === 'Failed' || status?.phase === 'Succeeded') return { kind: 'over', error: endedPod(pod) };
  if (metadata.deletionTimestamp !== undefined) {
    const advice = 'somebody, or a drain of the node, deleted it: try again.';
    return over('AGENT_LOST', `the agent's pod ${name} is being deleted`, { advice });
  }
  const running = containers.filter(({ state }) => state?.running !== undefined).length;
  const wanted = pod.spec?.containers?.length ?? 1;
  if (running >= wanted) return { kind: 'running', name };
  const unschedulable = status?.conditions?.find(({ type, status: is }) => type === 'PodScheduled' && is === 'False');
  if (unschedulable !== undefined) {
    return { kind: 'starting', what: `no node takes it: ${unschedulable.message ?? 'the scheduler gives no reason'}` };
  }
  if (pod.spec?.nodeName && containers.length === 0) {
    const node = pod.spec.nodeName;
    return {
      kind: 'starting',
      what: `node ${node} has not taken it up (\`kubectl get node ${node}\` shows whether it is ready)`,
    };
  }
  const waiting = containers.find(({ state }) => state?.waiting !== undefined)?.state?.waiting;
  return { kind: 'starting', what: waiting?.reason ?? `${running} of ${wanted} containers run` };
}

function brokenContainer(pod: string, { name, image, state }: ContainerStatus): AppError | null {
  const { reason = '', message = '' } = state?.waiting ?? {};
  const said = message === '' ? '' : `: ${message}`;
  if (IMAGE.has(reason)) {
    return new AppError(
      'SERVICE_UNAVAILABLE',
      `the node cannot get the agent's image ${image ?? ''} (${reason})${said}`,
      {
        data: {
          move: 'user',
          advice:
            'check agent.image, and that the nodes can pull it (agent.image_pull_secrets for a registry that wants a login); ' +
            'an image that was loaded onto the nodes wants agent.image_pull_policy IfNotPresent or Never.',
        },
      },
    );
  }
  if (!CONTAINER.has(reason)) return null;
  return new AppError('SERVICE_UNAVAILABLE', `container ${name} of ${pod} cannot start (${reason})${said}`, {
    data: { move: 'admin', advice: 'the node refuses what the container asks for: see docs/kubernetes.md.' },
  });
}

function endedPod({ metadata, status }: Pod): AppError {
  const name = metadata.name ?? '';
  const { reason = '', message = '' } = status ?? {};
  if (/^OutOf/.test(reason)) {
    return new AppError('LIMIT_REACHED', `the target's node has no room for the agent's pod (${reason}): ${message}`, {
      data: { move: 'admin', advice: 'the agent must run on that node: name a pod on another one, or make room.' },
    });
  }
  if (reason === 'Evicted' || /^Node|^Unexpected|Admission/.test(reason)) {
    const what = `the target's node does not run the agent's pod (${reason}): ${message}`;
    return new AppError('SERVICE_UNAVAILABLE', what, {
      data: { move: 'admin', advice: 'the agent must run on that node: name a pod on another one.' },
    });
  }
  const ends = (status?.containerStatuses ?? []).flatMap((container) => {
    const ended = lastEnd(container);
    return ended === undefined
      ? []
      : [`${container.name} ${ended.reason ?? ''} with exit code ${ended.exitCode ?? '?'}${saidOf(ended)}`];
  });
  const how = ends.length === 0 ? message || reason || 'no reason is given' : ends.join(', ');
  return new AppError('SERVICE_UNAVAILABLE', `the agent's pod ${name} ended before it could be used: ${how}`, {
    data: { advice: 'its log is in ours.' },
  });
}

/** Longest part of a runtime's words that a line of ours takes. */
const MAX_SAID = 200;

/** Of a program that could not be started: the runtime's last words name it. */
function saidOf({ message = '' }: Terminated): string {
  const said = message.trim();
  return said === '' ? '' : ` (${said.length > MAX_SAID ? `… ${said.slice(-MAX_SAID)}` : said})`;
}

/** What came first tells most: a container that is started anew may end in order. */
function lastEnd({ state, lastState }: ContainerStatus): Terminated | undefined {
  return lastState?.terminated ?? state?.terminated;
}

function over(code: 'AGENT_LOST', message: string, data: AppErrorOptions['data']): PodState {
  return { kind: 'over', error: new AppError(code, message, data === undefined ? {} : { data }) };
}
