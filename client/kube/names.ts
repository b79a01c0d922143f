// Names of the first objects of a list, and nothing else of them.

import type { KubeApi } from './api.ts';
import { AS_TABLE, type Table } from './objects.ts';

const PAGE = 500;

/** At most 500, in the order of the server. */
export async function firstNames(api: KubeApi, path: string, deadlineMs: number): Promise<string[]> {
  const query = { limit: PAGE, includeObject: 'None' };
  const { rows = [] } = await api.get<Table>(path, { deadlineMs, accept: AS_TABLE, query });
  return rows.map(({ cells }) => String(cells[0] ?? ''));
}
