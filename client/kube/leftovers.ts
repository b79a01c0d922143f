// What sessions have put into a cluster: their agents' jobs, and pods without one, known by their labels alone. Whether one is
// in use shows from whether it runs: an agent ends itself soon after its client has gone.

import { SESSION_LABEL } from '../agent-pod/template.ts';
import { FACT_ANNOTATIONS, PORTS_ANNOTATION, type SessionFacts } from '../sessions/facts.ts';
import type { KubeApi } from './api.ts';
import { objectPath } from './kinds.ts';
import type { ObjectMeta } from './objects.ts';

export interface Leftover {
  readonly kind: 'job' | 'pod';
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly session: string | null;
  readonly isRunning: boolean;
  readonly isGoing: boolean;
  /** NaN where the cluster does not say. */
  readonly createdAtMs: number;
  /** In the words of its client; `?` where it said none. */
  readonly facts: SessionFacts;
  /** Of the target, that its local process stands for. */
  readonly ports: readonly number[];
}

interface OwnedObject {
  readonly metadata: ObjectMeta & { readonly ownerReferences?: readonly { readonly kind: string }[] };
  readonly status?: {
    readonly phase?: string;
    readonly active?: number;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

interface Page {
  readonly metadata?: { readonly continue?: string };
  readonly items?: readonly OwnedObject[];
}

const OURS = 'app.kubernetes.io/managed-by=mirrord';
const PAGE = 100;

const SOURCES = [
  { kind: 'job', group: 'batch', resource: 'jobs' },
  { kind: 'pod', group: '', resource: 'pods' },
] as const;

/** `namespace` null: in all of them. */
export async function* findLeftovers(
  api: KubeApi,
  namespace: string | null,
  session: string | null,
): AsyncGenerator<Leftover, void, undefined> {
  const labelSelector = session === null ? OURS : `${OURS},${SESSION_LABEL}=${session}`;
  for (const { kind, group, resource } of SOURCES) {
    const path = objectPath({ group, version: 'v1', resource, namespace });
    for await (const { items = [] } of api.pages<Page>(path, () => PAGE, { query: { labelSelector } })) {
      for (const item of items) {
        // A job takes its pods with it.
        if (kind === 'pod' && item.metadata.ownerReferences?.some((owner) => owner.kind === 'Job')) continue;
        yield leftover(kind, item);
      }
    }
  }
}

const isPort = (port: number): boolean => Number.isInteger(port) && port > 0 && port < 65_536;

function leftover(kind: Leftover['kind'], { metadata, status = {} }: OwnedObject): Leftover {
  const hasEnded = status.conditions?.some(
    ({ type, status: value }) => (type === 'Complete' || type === 'Failed') && value === 'True',
  );
  const fact = (name: keyof SessionFacts) => metadata.annotations?.[FACT_ANNOTATIONS[name]] ?? '?';
  const isRunning = kind === 'pod' ? !/^(Succeeded|Failed)$/.test(status.phase ?? '') : hasEnded !== true;
  return {
    kind,
    namespace: metadata.namespace ?? '',
    name: metadata.name ?? '',
    uid: metadata.uid ?? '',
    session: metadata.labels?.[SESSION_LABEL] ?? null,
    isRunning,
    isGoing: metadata.deletionTimestamp !== undefined,
    createdAtMs: Date.parse(metadata.creationTimestamp ?? ''),
    ports: (metadata.annotations?.[PORTS_ANNOTATION] ?? '').split(',').map(Number).filter(isPort),
    facts: { target: fact('target'), from: fact('from'), incoming: fact('incoming') },
  };
}

/** With its pods; only this very object, not one that has its name since. False when it was gone already. */
export async function removeLeftover(api: KubeApi, { kind, namespace, name, uid }: Leftover): Promise<boolean> {
  const group = kind === 'job' ? 'batch' : '';
  const path = objectPath({ group, version: 'v1', resource: `${kind}s`, namespace, name });
  const preconditions = uid === '' ? {} : { preconditions: { uid } };
  return api.delete(path, {
    kind: 'DeleteOptions',
    apiVersion: 'v1',
    propagationPolicy: 'Background',
    ...preconditions,
  });
}
