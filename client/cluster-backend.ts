// The backend for a target in a cluster: the target found, an agent of our own on its node, and the way to it.

import { AppError } from '#proto/errors.ts';
import { newSessionId, newSigningKey, proofOfReturn, signToken } from '#proto/token.ts';
import { VERSION } from '#proto/version.ts';
import { type AgentPod, type StartStep, startAgentPod } from './agent-pod/agent-pod.ts';
import { startEphemeralAgent } from './agent-pod/ephemeral.ts';
import { ephemeralTarget } from './agent-pod/ephemeral-container.ts';
import { podState } from './agent-pod/pod-state.ts';
import { agentSettings } from './agent-pod/settings.ts';
import { AGENT_CONTAINER, type PodFeatures } from './agent-pod/template.ts';
import { AgentWatch } from './agent-pod/watch.ts';
import type { Backend } from './backend.ts';
import type { Config } from './config/schema/root.ts';
import { DirectWay } from './direct-way.ts';
import type { KubeApi } from './kube/api.ts';
import { mountsOf } from './kube/mounts.ts';
import type { Pod } from './kube/objects.ts';
import { openKubeApi } from './kube/open.ts';
import { chooseContainer } from './kube/pod-choice.ts';
import { callsToResolve, type ResolvedTarget, resolveTarget } from './kube/resolve.ts';
import { isStatus } from './kube/status.ts';
import { type ClusterTarget, formatClusterTarget } from './kube/target.ts';
import type { Log } from './log.ts';
import type { Progress } from './progress.ts';
import { annotationsOf, PORTS_ANNOTATION, STOPPED_BY_ANNOTATION, sessionFacts } from './sessions/facts.ts';

export interface ClusterOptions {
  readonly target: ClusterTarget;
  readonly config: Config;
  readonly features: PodFeatures;
  readonly env: NodeJS.ProcessEnv;
  readonly progress: Progress;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly isInteractive: boolean;
  /** Was asked already, and is this session's now; else one is opened. */
  readonly api?: KubeApi | null;
  /** Id of a container that is gone, whatever the cluster still says. */
  readonly except?: string | null;
}

/** From the agent's start to the opening; who comes back later shows the same token, which is enough then. */
const TOKEN_TTL_S = 120;
const NAME_CHARS = 12;
/** To the API server before the agent is made. */
const MAX_EARLY_CALLS = 5;
/** What an API server takes to restart as a static pod, or on a machine that is busy. */
const RESTART_S = 60;
/** For a node to report a pod whose containers run already; it does so every second. */
const REPORT_S = 30;

/** Rejects with the step that failed and why; nothing of ours is left then. */
export async function reachCluster(options: ClusterOptions): Promise<Backend> {
  const { config, env, isInteractive, progress } = options;
  const api = options.api ?? (await openKubeApi({ config, env, isInteractive }));
  const onWait = ({ message }: AppError) => progress.warn(`${message}; trying again for up to ${RESTART_S} s`);
  api.patience = { ms: RESTART_S * 1_000, onWait };
  try {
    const backend = await reachWith(options, api);
    api.patience = null;
    return backend;
  } catch (error) {
    const { agentLog } = AppError.from(error, 'BUG').data ?? {};
    if (typeof agentLog === 'string') options.log.attach('agent', agentLog);
    await api.close();
    throw error;
  }
}

async function reachWith(options: ClusterOptions, api: KubeApi): Promise<Backend> {
  const { target, config, env, progress, log, signal } = options;
  const settings = agentSettings(config, env);
  const { startupS } = settings;
  const sessionId = newSessionId();
  const hasTarget = target.kind !== 'targetless';
  const isEphemeral = config.agent.ephemeral && hasTarget;
  const targetNamespace = config.target.namespace ?? api.access.namespace;
  // Without a target it stands for one in its namespace.
  const namespace = isEphemeral || !hasTarget ? targetNamespace : (settings.namespace ?? targetNamespace);
  const watch = new AgentWatch({ api, namespace, sessionId, startupS, signal });
  const calls = Number(config.profile !== null) + callsToResolve(target);
  if (!isEphemeral && calls < MAX_EARLY_CALLS) watch.begin();
  const found = hasTarget ? await findTarget(options, target, api) : null;
  const { privateKey, publicKey } = newSigningKey();
  const ephemeral = isEphemeral ? found : null;
  const name = `mirrord-agent-${sessionId.slice(0, NAME_CHARS)}`;
  const template = {
    name,
    sessionId,
    publicKey,
    node: found?.node ?? null,
    features: options.features,
    settings,
    version: VERSION,
    annotations: annotationsOf(sessionFacts(formatClusterTarget(target), config)),
  };
  const onStep = (step: StartStep) => log.info('agent', { step, ...api.traffic });
  const pod = await progress.step(
    ephemeral === null ? 'starting the agent in the cluster' : `starting the agent in pod ${ephemeral.pod}`,
    () =>
      ephemeral === null
        ? startAgentPod({ api, namespace, template, startupS, signal, watch, onStep })
        : startEphemeralAgent({ api, found: ephemeral, template, startupS, signal, onStep }),
    (started) => `agent: pod ${started.name} in namespace ${namespace}`,
  );
  log.info('agent started', { pod: pod.name, namespace, ...api.traffic });
  const way = new DirectWay((asked) => pod.connect(asked).catch(gone(pod.name)), log);
  const podAddress = async () => {
    const hasAddress = ({ status }: Pod) => Boolean(status?.podIP);
    const object = ephemeral?.object ?? (await reportedPod(api, namespace, pod.name, hasAddress, signal));
    return object.status?.podIP;
  };
  const stand = found ?? (await ownContainer(api, namespace, pod, signal));
  const clusterNowS = (Date.now() + pod.clockAheadMs) / 1_000;
  const token = signToken(privateKey, sessionId, TOKEN_TTL_S, clusterNowS);
  return {
    address: `pod ${namespace}/${pod.name}`,
    token,
    prove: (attempt, received) => proofOfReturn(privateKey, token, attempt, received),
    ...(found === null ? {} : { mounts: mountsOf(found.object, found.container) }),
    place: { id: stand.containerId, text: `pod ${stand.pod}` },
    connect: way.connect,
    ...(settings.isDirect ? { onOpened: async (session) => way.take(session, await podAddress()) } : {}),
    target: ephemeral === null ? { kind: 'container', name: containerIdOf(stand) } : ephemeralTarget(ephemeral),
    isEmbedded: false,
    folder: null,
    ...(ephemeral === null ? { tellPorts: (ports) => tellPorts(api, namespace, name, ports) } : {}),
    endedBy: () => endedBy(api, namespace, ephemeral === null ? name : null),
    close: () => close(pod, api, progress, log),
    agentLog: () => pod.readLog(),
  };
}

async function findTarget(
  { config, progress, log, signal, except }: ClusterOptions,
  target: Exclude<ClusterTarget, { kind: 'targetless' }>,
  api: KubeApi,
): Promise<ResolvedTarget> {
  const found = await progress.step(
    `looking for ${formatClusterTarget(target)}`,
    () => resolveTarget({ api, target, namespace: config.target.namespace, signal }),
    (resolved) => `target: pod ${resolved.pod}, container ${resolved.container}, on ${resolved.node}`,
  );
  if (found.containerId === except) {
    throw new AppError(
      'TARGET_GONE',
      `container ${found.container} of pod ${found.pod} has ended, and no other runs yet`,
    );
  }
  log.info('target found', { ...api.traffic });
  for (const choice of found.choices) progress.info(choice);
  return found;
}

interface Stand {
  readonly pod: string;
  readonly containerId: string;
}

/** The agent's own container is the target where there is no other. Its pod is removed where it cannot be told. */
async function ownContainer(api: KubeApi, namespace: string, pod: AgentPod, signal: AbortSignal): Promise<Stand> {
  try {
    const runs = (object: Pod) => podState(object).kind === 'running';
    const object = await reportedPod(api, namespace, pod.name, runs, signal);
    return { pod: pod.name, containerId: chooseContainer(object, AGENT_CONTAINER).id };
  } catch (error) {
    await pod.remove();
    throw error;
  }
}

/** An agent's pod that is not there any more does not come back: nobody need try again. */
function gone(name: string): (error: unknown) => never {
  return (error) => {
    if (!isStatus(error, 404)) throw error;
    throw new AppError('TARGET_GONE', `the agent's pod ${name} is gone`, { cause: error });
  };
}

/** The agent answers before its node has reported it: what the node knows is waited for. */
async function reportedPod(
  api: KubeApi,
  namespace: string,
  name: string,
  isEnough: (pod: Pod) => boolean,
  signal: AbortSignal,
): Promise<Pod> {
  const query = { fieldSelector: `metadata.name=${name}` };
  const path = `/api/v1/namespaces/${namespace}/pods`;
  const untilMs = performance.now() + REPORT_S * 1_000;
  while (performance.now() < untilMs) {
    for await (const { type, object } of api.watch<Pod>(path, { query, timeoutS: REPORT_S, signal })) {
      if (type !== 'DELETED' && isEnough(object)) return object;
    }
  }
  throw new AppError('DEADLINE_EXCEEDED', `the node of pod ${name} does not report that it runs within ${REPORT_S} s`);
}

/** Without the runtime's prefix. */
function containerIdOf({ containerId }: Stand): string {
  return containerId.slice(containerId.lastIndexOf('/') + 1);
}

async function tellPorts(api: KubeApi, namespace: string, job: string, ports: readonly number[]): Promise<void> {
  const metadata = { annotations: { [PORTS_ANNOTATION]: ports.join(',') } };
  await api.patch(`/apis/batch/v1/namespaces/${namespace}/jobs/${job}`, 'merge', { metadata });
}

/** Who ended the session, as `mirrord session stop` writes it on the job; null for nobody we know of. */
async function endedBy(api: KubeApi, namespace: string, job: string | null): Promise<string | null> {
  if (job === null) return null;
  try {
    const { metadata } = await api.get<Pod>(`/apis/batch/v1/namespaces/${namespace}/jobs/${job}`);
    return metadata.annotations?.[STOPPED_BY_ANNOTATION] ?? null;
  } catch {
    // Gone with what stands on it, or not ours to read: then it is a loss like any other.
    return null;
  }
}

async function close(pod: AgentPod, api: KubeApi, progress: Progress, log: Log): Promise<void> {
  try {
    await pod.remove();
    log.info('agent removed', { ...api.traffic });
  } catch (thrown) {
    const error = AppError.from(thrown, 'SERVICE_UNAVAILABLE');
    log.warn('agent not removed', { code: error.code, message: error.message });
    progress.warn(`the agent could not be removed (${error.message}); it ends itself, and the cluster removes it`);
  } finally {
    await api.close();
  }
}
