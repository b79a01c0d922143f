// A target chosen on the terminal from what runs in the cluster, for a command that was given none.

import { isatty } from 'node:tty';
import { AppError } from '#proto/errors.ts';
import type { Config } from '../config/schema/root.ts';
import type { Kind } from '../kube/kinds.ts';
import type { Terminal } from '../terminal.ts';

/** What a session is usually opened with comes first. */
const KINDS: readonly Kind[] = [
  'deployment',
  'statefulset',
  'daemonset',
  'rollout',
  'service',
  'job',
  'cronjob',
  'pod',
];

/**
 * Rejects with CONFIG_INVALID where there is nobody to ask, with CANCELLED when the user leaves, or with what keeps the cluster
 * from being asked.
 */
export async function chooseTarget(config: Config, terminal: Terminal, signal: AbortSignal): Promise<string> {
  if (!terminal.isErrTty || !isatty(0)) {
    throw new AppError(
      'CONFIG_INVALID',
      'a target is missing: --target pid/N, container/NAME, pod/NAME, deployment/NAME …',
      {
        data: { advice: '`mirrord ls` lists those of a cluster; targetless stands for none of them.' },
      },
    );
  }
  const [{ openKubeApi }, { listTargets }, { choose }] = await Promise.all([
    import('../kube/open.ts'),
    import('../kube/listing.ts'),
    import('../chooser/chooser.ts'),
  ]);
  const api = await openKubeApi({ config, env: terminal.env, isInteractive: true });
  try {
    const namespace = config.target.namespace ?? api.access.namespace;
    // A credential plugin may want the terminal first.
    await api.access.login.options(signal);
    const listed = listTargets({ api, namespace, kinds: KINDS, selector: null, signal, onRefused: () => {} });
    const context = api.access.contextName === null ? '' : ` of context ${api.access.contextName}`;
    const chosen = await choose({
      title: `Which target in namespace ${namespace}${context}?`,
      pages: toChoices(listed),
      write: (text) => terminal.err(text),
      signal,
    });
    if (chosen === null) throw new AppError('CANCELLED', 'no target was chosen');
    return chosen;
  } finally {
    await api.close();
  }
}

async function* toChoices(pages: AsyncIterable<readonly import('../kube/listing.ts').Listed[]>) {
  for await (const page of pages) {
    yield page.map(({ kind, name, state, node }) => ({
      text: `${kind}/${name}`,
      note: node === null ? state : `${state} on ${node}`,
    }));
  }
}
