// What can be targeted in a namespace or in all of them, page by page, in the order of the kinds asked for. Lists come as what
// `kubectl get` shows, so that a page of 500 pods is 130 KB and not 5 MB; nothing is kept.

import type { KubeApi } from './api.ts';
import { type Kind, kindRow, objectPath } from './kinds.ts';
import { AS_TABLE, type Table } from './objects.ts';
import { isStatus, type StatusError } from './status.ts';

export interface Listed {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  /** In a few words: `2/2 ready`. */
  readonly state: string;
  /** Of a pod. */
  readonly node: string | null;
}

export interface ListingOptions {
  readonly api: KubeApi;
  /** null: all. */
  readonly namespace: string | null;
  readonly kinds: readonly Kind[];
  /** Of labels; null for none. */
  readonly selector: string | null;
  /** A kind that this user may not list, or this cluster does not have. */
  readonly onRefused: (kind: Kind, error: StatusError) => void;
  readonly signal?: AbortSignal;
}

/** The first lines soon, the rest in few calls. */
const FIRST_PAGE = 100;
const PAGE = 500;
/** Rows with metadata have 4 KB each. */
const PAGE_WITH_METADATA = 200;
/** Agents of ours and of those before us. */
const NOT_OURS = 'app!=mirrord,app.kubernetes.io/managed-by!=mirrord,!operator.metalbear.co/owner';

/** Only what could be targeted now. Rejects with the cluster's refusal when it refuses every kind. */
export async function* listTargets(options: ListingOptions): AsyncGenerator<readonly Listed[], void, undefined> {
  const { kinds } = options;
  const lists: AsyncGenerator<readonly Listed[], void, undefined>[] = [];
  let refusals: StatusError[] = [];
  try {
    for (const [at, kind] of kinds.entries()) {
      // The next kind is asked for while this one is read: two connections, and a reader who stops leaves little behind.
      for (const next of kinds.slice(lists.length, at + 2)) lists.push(ahead(pagesOf(options, next)));
      try {
        for await (const page of lists[at] ?? []) yield page;
      } catch (error) {
        if (!isStatus(error, 403) && !isStatus(error, 404)) throw error;
        refusals = [...refusals, error];
        options.onRefused(kind, error);
      }
    }
  } finally {
    for (const pages of lists) void pages.return(undefined);
  }
  const [first] = refusals.filter((error) => error.httpStatus === 403);
  if (first !== undefined && refusals.length === kinds.length) throw first;
}

/** Asks for one page more than is wanted yet. */
function ahead<T>(pages: AsyncGenerator<T, void, undefined>): AsyncGenerator<T, void, undefined> {
  const next = () => {
    const page = pages.next();
    // Looked at when its turn comes.
    page.catch(() => {});
    return page;
  };
  let waiting = next();
  return (async function* () {
    try {
      for (let page = await waiting; !page.done; page = await waiting) {
        waiting = next();
        yield page.value;
      }
    } finally {
      void pages.return(undefined);
    }
  })();
}

async function* pagesOf(options: ListingOptions, kind: Kind): AsyncGenerator<readonly Listed[], void, undefined> {
  const { api, namespace, selector, signal } = options;
  const { group, versions, resource } = kindRow(kind);
  const query = {
    labelSelector: [NOT_OURS, ...(selector === null ? [] : [selector])].join(','),
    // Without the objects nothing tells the namespaces of rows.
    includeObject: namespace === null ? 'Metadata' : 'None',
  };
  const call = { accept: AS_TABLE, query, ...(signal === undefined ? {} : { signal }) };
  const laterPage = namespace === null ? PAGE_WITH_METADATA : PAGE;
  const sizeOf = (page: number) => (page === 0 ? FIRST_PAGE : laterPage);
  for (const [at, version] of versions.entries()) {
    try {
      const path = objectPath({ group, version, resource, namespace });
      for await (const table of api.pages<Table>(path, sizeOf, call)) yield readPage(table, kind, namespace);
      return;
    } catch (error) {
      if (!(isStatus(error, 404) && at < versions.length - 1)) throw error;
    }
  }
}

function readPage({ columnDefinitions = [], rows = [] }: Table, kind: Kind, namespace: string | null): Listed[] {
  const columns = columnDefinitions.map(({ name }) => name);
  const listed: Listed[] = [];
  for (const { cells, object } of rows) {
    const cell = (name: string) => {
      const at = columns.indexOf(name);
      return at < 0 ? '' : String(cells[at] ?? '');
    };
    const state = stateOf(kind, cell);
    if (state === null) continue;
    listed.push({
      kind,
      namespace: object?.metadata?.namespace ?? namespace ?? '',
      name: object?.metadata?.name ?? cell('Name'),
      state,
      node: kind === 'pod' ? cell('Node') : null,
    });
  }
  return listed;
}

/** null for what could not be targeted now: nothing of it runs. */
function stateOf(kind: Kind, cell: (name: string) => string): string | null {
  switch (kind) {
    case 'pod': {
      const isReady = cell('Status') === 'Running' && partOf(cell('Ready')) > 0;
      return isReady ? `${cell('Ready')} ready` : null;
    }
    case 'deployment':
      return Number(cell('Available')) > 0 ? `${cell('Ready')} ready` : null;
    case 'statefulset':
      return partOf(cell('Ready')) > 0 ? `${cell('Ready')} ready` : null;
    case 'daemonset':
    case 'replicaset':
      return Number(cell('Ready')) > 0 ? `${cell('Ready')}/${cell('Desired')} ready` : null;
    case 'rollout':
      return Number(cell('Available')) > 0 ? `${cell('Available')}/${cell('Desired')} ready` : null;
    case 'job': {
      const [done, wanted] = cell('Completions').split('/');
      return done === wanted ? null : `${cell('Completions')} done`;
    }
    case 'cronjob':
      return Number(cell('Active')) > 0 ? `${cell('Active')} active` : null;
    case 'service':
      return cell('Selector') === '<none>' ? null : cell('Type');
  }
}

/** 2 of `2/3`. */
function partOf(ratio: string): number {
  return Number(ratio.split('/')[0]) || 0;
}
