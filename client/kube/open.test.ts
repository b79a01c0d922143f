// What keys of the configuration become in calls to the cluster's API.

import { expect, test } from 'vitest';
import { ApiServer } from '../testing/api-server.ts';
import { loadText } from '../testing/load-text.ts';
import { openKubeApi } from './open.ts';

test.each([
  [0, 1],
  [2, 3],
])(
  'with startup_retry.max_retries %i a call that fails is made %i times, after its waits',
  async (max_retries, calls) => {
    await using server = await ApiServer.start();
    server.answers.set('GET /api/v1/nodes', 503);
    const kubeconfig = await server.writeKubeconfig();
    const { config } = await loadText(
      JSON.stringify({ kubeconfig, startup_retry: { min_ms: 30, max_ms: 40, max_retries } }),
    );
    const api = await openKubeApi({ config, env: {}, isInteractive: false });
    const startMs = performance.now();
    await expect(api.get('/api/v1/nodes')).rejects.toMatchObject({ httpStatus: 503 });
    expect(server.seen).toHaveLength(calls);
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(max_retries * 14);
    await api.close();
  },
);
