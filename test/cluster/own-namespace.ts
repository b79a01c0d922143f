// A namespace of a test's own on the real cluster, the API to fill it with, and its end. KUBECONFIG names the cluster.

import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { KubeApi } from '../../client/kube/api.ts';
import { type ClusterSettings, loadClusterAccess } from '../../client/kube/config.ts';
import { isStatus } from '../../client/kube/status.ts';

/** On every node already (scripts/test-cluster), and made to do nothing. */
const IMAGE = process.env['MIRRORD_TEST_DEMO_IMAGE'];
const COMMAND = ['sleep', 'infinity'];
/** Controllers of a busy machine lose their election now and then, and come back. */
export const PATIENCE_MS = 150_000;
const POLL_MS = 250;

export const settings: ClusterSettings = {
  kubeconfig: null,
  context: null,
  acceptInvalidCertificates: null,
  useProxy: true,
  env: process.env,
  isInteractive: false,
};

export class OwnNamespace implements AsyncDisposable {
  readonly name: string;
  readonly api: KubeApi;

  private constructor(name: string, api: KubeApi) {
    this.name = name;
    this.api = api;
  }

  static async make(labels: Readonly<Record<string, string>> = {}): Promise<OwnNamespace> {
    if (!process.env['KUBECONFIG']) throw new Error('KUBECONFIG must name the cluster of the test');
    const retry = { minMs: 500, maxMs: 5_000, maxRetries: 10 };
    const api = new KubeApi(await loadClusterAccess(settings), retry);
    const name = `mirrord-kube-${randomBytes(4).toString('hex')}`;
    await api.create('/api/v1/namespaces', { metadata: { name, labels } });
    const own = new OwnNamespace(name, api);
    // Pods are refused until the namespace has its account.
    await own.until('the service account', () => own.get('/api/v1', 'serviceaccounts/default'));
    return own;
  }

  path(group: string, resource: string): string {
    return `${group}/namespaces/${this.name}/${resource}`;
  }

  /** null for what is not there. */
  async get<T = unknown>(group: string, resource: string): Promise<T | null> {
    try {
      return await this.api.get<T>(this.path(group, resource));
    } catch (error) {
      if (isStatus(error, 404)) return null;
      throw error;
    }
  }

  create<T = unknown>(group: string, resource: string, body: object): Promise<T> {
    return this.api.create<T>(this.path(group, resource), body);
  }

  /** Asks until the answer is neither null nor false. */
  async until<T>(what: string, ask: () => Promise<T | null | false>): Promise<T> {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const found = await ask();
      if (found !== null && found !== false) return found;
      if (Date.now() > end) throw new Error(`${what} did not come within ${PATIENCE_MS / 1000} s`);
      await pause(POLL_MS);
    }
  }

  /** With all that is in it; waits until nothing is left. */
  async close(): Promise<void> {
    try {
      await this.api.delete(`/api/v1/namespaces/${this.name}`);
      await this.until(`the end of namespace ${this.name}`, async () => {
        try {
          await this.api.get(`/api/v1/namespaces/${this.name}`);
          return false;
        } catch (error) {
          if (isStatus(error, 404)) return true;
          throw error;
        }
      });
    } finally {
      await this.api.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

export interface PodShape {
  readonly containers?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** On no node at all. */
  readonly isStuck?: boolean;
  readonly restartPolicy?: 'Never';
}

export function podTemplate({ containers = ['app'], labels = {}, annotations = {}, ...shape }: PodShape): object {
  return {
    metadata: { labels, annotations },
    spec: {
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: false,
      ...(shape.restartPolicy === undefined ? {} : { restartPolicy: shape.restartPolicy }),
      // The scheduler of the cluster has other things to do than to try them again and again.
      ...(shape.isStuck === true ? { schedulerName: 'nobody' } : { nodeSelector: { 'kubernetes.io/os': 'linux' } }),
      containers: containers.map((name) => ({ name, image: IMAGE, imagePullPolicy: 'IfNotPresent', command: COMMAND })),
    },
  };
}
