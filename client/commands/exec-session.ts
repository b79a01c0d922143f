// The session of `mirrord exec`: what it is opened with, and what the user is told of its life.

import { AppError } from '#proto/errors.ts';
import type { ServiceBack } from '#proto/gen/v1/session.ts';
import type { Backend } from '../backend.ts';
import type { Config } from '../config/schema/root.ts';
import { renewalOf } from '../interruption.ts';
import type { KubeApi } from '../kube/api.ts';
import { printable } from '../printable.ts';
import type { Session, SessionOptions } from '../session.ts';
import type { Signals } from '../signals.ts';
import { isLocal, type Target } from '../target.ts';
import type { Terminal } from '../terminal.ts';
import type { Parts, Run } from './exec.ts';

const OPEN_DEADLINE_MS = 15_000;

/** What a run wants to know of its session, or to have otherwise. */
export interface Hooks {
  /** False: nobody does anything about it. */
  readonly onGone: (reason: string) => boolean;
  readonly lastId?: number;
}

export async function openSession(run: Run, backend: Backend, parts: Parts, hooks: Hooks): Promise<Session> {
  const { dial, Session, networkFeatures, incomingFeatures, incomingFiles, incomingEventText } = parts;
  run.signals.abortSignal.throwIfAborted();
  const options: SessionOptions = {
    dial,
    address: backend.address,
    token: backend.token,
    ...(backend.proof === undefined ? {} : { proof: backend.proof }),
    ...(backend.connect === undefined ? {} : { connect: backend.connect }),
    target: backend.target,
    wantsEnvironment: true,
    wantsFiles: run.config.feature.fs.mode !== 'local' || incomingFiles(run.config),
    wantsNetwork: networkFeatures(run.config) !== 0,
    wantsIncoming: incomingFeatures(run.config) !== 0,
    deadlineMs: OPEN_DEADLINE_MS,
    ...renewalOf({ ...run, prove: backend.prove }),
    ...(hooks.lastId === undefined ? {} : { lastId: hooks.lastId }),
    onEvent: (event) => {
      const arriving = incomingEventText(event);
      if (arriving !== null) run.progress.failure(arriving);
      else if (event.$case === 'targetEnded') {
        if (!hooks.onGone('its process has ended'))
          run.progress.failure('the target has ended: its files answer EIO from here on');
      } else if (event.$case === 'serviceBack') {
        const lost = filesLostText(event.value);
        if (lost !== null) run.progress.failure(lost);
      } else run.progress.failure(`the agent lost its ${event.value.service}: what it served answers EIO`);
      run.log.warn('session event', { event: event.$case });
    },
    onOverdue: (what) => {
      run.log.error('request given up', { what });
      run.progress.failure(`${what}: the local process got EIO`);
    },
    onLost: (error) => {
      run.log.error('session lost', { code: error.code, message: error.message });
      if (hooks.onGone(error.message)) return;
      const logFile = run.log.keep();
      run.progress.failure(`the session is lost: ${error.message}; files of the target answer EIO (log: ${logFile})`);
      void backend.endedBy?.().then((by) => {
        if (by !== null) run.progress.failure(`it was ended by ${by}, with mirrord session stop`);
      });
    },
  };
  return Session.open(options);
}

/** null: every open file goes on. */
function filesLostText({ filesLost, filesLostCount = 0 }: ServiceBack): string | null {
  if (filesLostCount === 0) return null;
  const named = filesLost.map((path) => printable(Buffer.from(path).toString()));
  const more = filesLostCount > named.length ? ` and ${filesLostCount - named.length} more` : '';
  return `the agent's fs-env ended and is back; open files that are not what they were answer EIO: ${named.join(', ')}${more}`;
}

/** Nothing arrives where there is no target. */
function configFor(target: Target, config: Config): Config {
  if (target.kind !== 'targetless') return config;
  const { feature } = config;
  const incoming = { ...feature.network.incoming, mode: 'off' as const };
  return { ...config, feature: { ...feature, network: { ...feature.network, incoming } } };
}

/**
 * With what the cluster's administrators have written down for all who name it; the API that was asked is the session's then, with
 * its connection and its login.
 */
export async function withProfile(
  target: Target,
  config: Config,
  { env, isErrTty }: Terminal,
  signals: Signals,
): Promise<{ config: Config; api: KubeApi | null }> {
  const { profile } = config;
  if (profile === null) return { config: configFor(target, config), api: null };
  if (isLocal(target)) {
    throw new AppError('CONFIG_INVALID', 'profile: the target is on this machine, and profiles are in clusters');
  }
  const [{ openKubeApi }, { applyProfile }] = await Promise.all([
    import('../kube/open.ts'),
    import('../kube/profile.ts'),
  ]);
  const api = await openKubeApi({ config, env, isInteractive: isErrTty });
  try {
    const changed = await applyProfile({ api, profile, config, signal: signals.abortSignal });
    return { config: configFor(target, changed), api };
  } catch (error) {
    await api.close();
    throw error;
  }
}
