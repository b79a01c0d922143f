// The API of the cluster that the configuration and the environment name.

import type { Config } from '../config/schema/root.ts';
import { KubeApi } from './api.ts';
import { loadClusterAccess } from './config.ts';

export interface OpenOptions {
  readonly config: Pick<
    Config,
    'kubeconfig' | 'kube_context' | 'accept_invalid_certificates' | 'use_proxy' | 'startup_retry'
  >;
  readonly env: NodeJS.ProcessEnv;
  /** Whether a credential plugin may ask on our terminal. */
  readonly isInteractive: boolean;
}

/** Asks nobody yet. Throws CONFIG_INVALID for a kubeconfig that cannot be followed. */
export async function openKubeApi({ config, env, isInteractive }: OpenOptions): Promise<KubeApi> {
  const access = await loadClusterAccess({
    kubeconfig: config.kubeconfig,
    context: config.kube_context,
    acceptInvalidCertificates: config.accept_invalid_certificates,
    useProxy: config.use_proxy,
    env,
    isInteractive,
  });
  const { min_ms, max_ms, max_retries } = config.startup_retry;
  return new KubeApi(access, { minMs: min_ms, maxMs: max_ms, maxRetries: max_retries });
}
