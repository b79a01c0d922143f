// The watch of an agent's pod, which may begin before there is one: its connection is there when the pod is, and it is not the one
// over which everything else is asked, which then serves until the end. Over a distance each saves a round trip or two.

import type { KubeApi } from '../kube/api.ts';
import type { Pod } from '../kube/objects.ts';
import { SESSION_LABEL } from './template.ts';

export interface WatchedSession {
  readonly api: KubeApi;
  readonly namespace: string;
  readonly sessionId: string;
  readonly startupS: number;
  readonly signal: AbortSignal;
}

type Change = { readonly type: string; readonly object: Pod };

export class AgentWatch {
  readonly #of: WatchedSession;
  readonly #ended = new AbortController();
  #early: AsyncIterable<Change> | null = null;

  constructor(of: WatchedSession) {
    this.#of = of;
  }

  /** Now and not only when somebody waits for it. */
  begin(): void {
    this.#early ??= begun(this.#watch());
  }

  /** Until the server ends it; the next one goes on with what is there. */
  next(): AsyncIterable<Change> {
    const early = this.#early;
    this.#early = null;
    return early ?? this.#watch();
  }

  end(): void {
    this.#ended.abort();
  }

  #watch(): AsyncGenerator<Change, void, undefined> {
    const { api, namespace, sessionId, startupS, signal } = this.#of;
    return api.watch<Pod>(`/api/v1/namespaces/${namespace}/pods`, {
      query: { labelSelector: `${SESSION_LABEL}=${sessionId}` },
      timeoutS: Math.max(1, startupS),
      signal: AbortSignal.any([signal, this.#ended.signal]),
    });
  }
}

/** What fails before anybody waits for it may pass: it ends then, and whoever waits asks anew. */
function begun<T>(source: AsyncGenerator<T, void, undefined>): AsyncIterable<T> {
  const first = source.next().catch(() => ({ done: true as const, value: undefined }));
  return (async function* () {
    const one = await first;
    if (one.done) return;
    yield one.value;
    yield* source;
  })();
}
