// The backend for a target in a cluster: the target found, an agent of our own on its node, and the way to it.

import { AppError } from '#proto/errors.ts';
import { newSessionId, newSigningKey, signToken } from '#proto/token.ts';
import { VERSION } from '#proto/version.ts';
import { type AgentPod, startAgentPod } from './agent-pod/agent-pod.ts';
import { startEphemeralAgent } from './agent-pod/ephemeral.ts';
import { ephemeralTarget } from './agent-pod/ephemeral-container.ts';
import { agentSettings } from './agent-pod/settings.ts';
import type { PodFeatures } from './agent-pod/template.ts';
import type { Backend } from './backend.ts';
import type { Config } from './config/schema/root.ts';
import { DirectWay } from './direct-way.ts';
import type { KubeApi } from './kube/api.ts';
import type { Pod } from './kube/objects.ts';
import { openKubeApi } from './kube/open.ts';
import { type ResolvedTarget, resolveTarget } from './kube/resolve.ts';
import { isStatus } from './kube/status.ts';
import { type ClusterTarget, formatClusterTarget } from './kube/target.ts';
import type { Log } from './log.ts';
import type { Progress } from './progress.ts';

export interface ClusterOptions {
  readonly target: ClusterTarget;
  readonly config: Config;
  readonly features: PodFeatures;
  readonly env: NodeJS.ProcessEnv;
  readonly progress: Progress;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly isInteractive: boolean;
  /** Id of a container that is gone, whatever the cluster still says. */
  readonly except?: string | null;
}

/** From the agent's start to the opening; who comes back later shows the same token, which is enough then. */
const TOKEN_TTL_S = 120;
const NAME_CHARS = 12;

/** Rejects with the step that failed and why; nothing of ours is left then. */
export async function reachCluster(options: ClusterOptions): Promise<Backend> {
  const { config, env, isInteractive } = options;
  const api = await openKubeApi({ config, env, isInteractive });
  try {
    return await reachWith(options, api);
  } catch (error) {
    const { agentLog } = AppError.from(error, 'BUG').data ?? {};
    if (typeof agentLog === 'string') options.log.attach('agent', agentLog);
    await api.close();
    throw error;
  }
}

async function reachWith(options: ClusterOptions, api: KubeApi): Promise<Backend> {
  const { target, config, env, progress, log, signal } = options;
  if (target.kind === 'targetless') {
    throw new AppError('UNSUPPORTED', 'target targetless is not built yet: a session without a target comes later', {
      data: { exitCode: 2, advice: 'name a pod or a deployment.' },
    });
  }
  const text = formatClusterTarget(target);
  const settings = agentSettings(config, env);
  const found = await progress.step(
    `looking for ${text}`,
    () => resolveTarget({ api, target, namespace: config.target.namespace, signal }),
    (resolved) => `target: pod ${resolved.pod}, container ${resolved.container}, on ${resolved.node}`,
  );
  if (found.containerId === options.except) {
    throw new AppError(
      'TARGET_GONE',
      `container ${found.container} of pod ${found.pod} has ended, and no other runs yet`,
    );
  }
  for (const choice of found.choices) progress.info(choice);
  const sessionId = newSessionId();
  const { privateKey, publicKey } = newSigningKey();
  const isEphemeral = config.agent.ephemeral;
  const namespace = isEphemeral ? found.namespace : (settings.namespace ?? found.namespace);
  const name = `mirrord-agent-${sessionId.slice(0, NAME_CHARS)}`;
  const template = {
    name,
    sessionId,
    publicKey,
    node: found.node,
    features: options.features,
    settings,
    version: VERSION,
  };
  const { startupS } = settings;
  const pod = await progress.step(
    isEphemeral ? `starting the agent in pod ${found.pod}` : 'starting the agent in the cluster',
    () =>
      isEphemeral
        ? startEphemeralAgent({ api, found, template, startupS, signal })
        : startAgentPod({ api, namespace, template, startupS, signal }),
    (started) => `agent: pod ${started.name} in namespace ${namespace}`,
  );
  log.info('agent started', { pod: pod.name, namespace, ...api.traffic });
  const way = new DirectWay((asked) => pod.connect(asked).catch(gone(pod.name)), log);
  const podAddress = async () => {
    const object = isEphemeral ? found.object : await api.get<Pod>(podPath(namespace, pod.name), { signal });
    return object.status?.podIP;
  };
  const clusterNowS = (Date.now() + pod.clockAheadMs) / 1_000;
  return {
    address: `pod ${namespace}/${pod.name}`,
    token: signToken(privateKey, sessionId, TOKEN_TTL_S, clusterNowS),
    place: { id: found.containerId, text: `pod ${found.pod}` },
    connect: way.connect,
    ...(settings.isDirect ? { onOpened: async (session) => way.take(session, await podAddress()) } : {}),
    target: isEphemeral ? ephemeralTarget(found) : { kind: 'container', name: containerIdOf(found) },
    isEmbedded: false,
    folder: null,
    close: () => close(pod, api, progress, log),
    agentLog: () => pod.readLog(),
  };
}

/** An agent's pod that is not there any more does not come back: nobody need try again. */
function gone(name: string): (error: unknown) => never {
  return (error) => {
    if (!isStatus(error, 404)) throw error;
    throw new AppError('TARGET_GONE', `the agent's pod ${name} is gone`, { cause: error });
  };
}

function podPath(namespace: string, name: string): string {
  return `/api/v1/namespaces/${namespace}/pods/${name}`;
}

/** Without the runtime's prefix. */
function containerIdOf({ containerId }: ResolvedTarget): string {
  return containerId.slice(containerId.lastIndexOf('/') + 1);
}

async function close(pod: AgentPod, api: KubeApi, progress: Progress, log: Log): Promise<void> {
  try {
    await pod.remove();
  } catch (thrown) {
    const error = AppError.from(thrown, 'SERVICE_UNAVAILABLE');
    log.warn('agent not removed', { code: error.code, message: error.message });
    progress.warn(`the agent could not be removed (${error.message}); it ends itself, and the cluster removes it`);
  } finally {
    await api.close();
  }
}
