// Names of the first objects of a list, and nothing else of them.

import type { KubeApi } from './api.ts';
import { AS_TABLE, type Table } from './objects.ts';

const PAGE = 500;
/** 2,500 names: what a server gives within a second or so. */
const MAX_PAGES = 5;

/** At most 500, in the order of the server. */
export async function firstNames(api: KubeApi, path: string, deadlineMs: number): Promise<string[]> {
  const query = { limit: PAGE, includeObject: 'None' };
  const { rows = [] } = await api.get<Table>(path, { deadlineMs, accept: AS_TABLE, query });
  return rows.map(({ cells }) => String(cells[0] ?? ''));
}

/** At most `limit`, from the first pages; names are sorted, so that the search ends with the prefix. */
export async function namesWithPrefix(api: KubeApi, path: string, prefix: string, limit: number): Promise<string[]> {
  const found: string[] = [];
  const options = { accept: AS_TABLE, query: { includeObject: 'None' } };
  let pages = 0;
  for await (const { rows = [] } of api.pages<Table>(path, () => PAGE, options)) {
    const names = rows.map(({ cells }) => String(cells[0] ?? ''));
    found.push(...names.filter((name) => name.startsWith(prefix)));
    pages += 1;
    const isPast = (names.at(-1) ?? '') > prefix && !names.at(-1)?.startsWith(prefix);
    if (found.length >= limit || pages === MAX_PAGES || isPast) break;
  }
  return found.slice(0, limit);
}
