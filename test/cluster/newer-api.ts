// What an API server of 1.25 and newer does with ephemeral containers, before one of 1.20 whose kubelets run them all the same:
// its discovery says so, and it takes the strategic-merge patch of the subresource. Its cron jobs are v1, those of before are
// nowhere. Everything else goes to the real one, and the
// real one judges the container: all but its rights as an ephemeral container of the first form (which of its fields may be set,
// names, the target), its rights as those of an ordinary one. What it has found good is written where it keeps its pods, and
// from there on it is as real as any. Where the cluster has the newer API, nothing stands between.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { kubectl, Run } from './cluster.ts';

interface Container {
  readonly name: string;
  readonly image: string;
  readonly securityContext?: object;
}

interface Pod {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string; readonly managedFields?: object };
  readonly spec: { readonly ephemeralContainers?: readonly Container[] };
}

interface ResourceList {
  readonly resources: readonly { readonly name: string; readonly kind: string }[];
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

interface Patch {
  readonly podPath: string;
  readonly space: string;
  readonly name: string;
  readonly type: string;
  readonly body: string;
}

/** Of the cluster that scripts/test-cluster has the processes of. */
const clusterFolder = process.env['MIRRORD_TEST_KUBE_DIR'] ?? '';
const SUBRESOURCE = /^(\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+))\/ephemeralcontainers$/;
const CRON_JOBS = /^\/apis\/batch\/(v1|v1beta1)\/(?:namespaces\/[^/]+\/)?cronjobs(?:\/|$)/;

export class NewerApi {
  /** For KUBECONFIG. */
  readonly kubeconfig: string;
  /** The patches that were taken. */
  readonly taken: { type: string; body: string }[] = [];
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'mirrord-newer-'));
  #proxy: ChildProcess | null = null;
  #server: Server | null = null;
  #port = 0;

  private constructor() {
    this.kubeconfig = path.join(this.#folder, 'kubeconfig');
  }

  static async start(): Promise<NewerApi> {
    const api = new NewerApi();
    const { resources } = JSON.parse(await kubectl(['get', '--raw', '/api/v1'])) as ResourceList;
    const isOffered = resources.some(({ name, kind }) => name === 'pods/ephemeralcontainers' && kind === 'Pod');
    if (isOffered) writeFileSync(api.kubeconfig, readFileSync(process.env['KUBECONFIG'] ?? ''));
    else await api.#stand();
    return api;
  }

  async #stand(): Promise<void> {
    const run = new Run(spawn('kubectl', ['proxy', '--port=0']));
    this.#proxy = run.child;
    const [, port] = await run.says('stdout', /Starting to serve on 127\.0\.0\.1:(\d+)/);
    this.#port = Number(port);
    const server = createServer((asked, answer) => void this.#answer(asked, answer));
    this.#server = server;
    server.on('upgrade', (asked: IncomingMessage, near: Duplex, head: Buffer) => this.#upgrade(asked, near, head));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const config = {
      'current-context': 'newer',
      clusters: [{ name: 'newer', cluster: { server: url } }],
      users: [{ name: 'newer', user: {} }],
      contexts: [{ name: 'newer', context: { cluster: 'newer', user: 'newer' } }],
    };
    writeFileSync(this.kubeconfig, JSON.stringify(config));
  }

  async #answer(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    try {
      const { pathname } = new URL(asked.url ?? '', 'http://api');
      const found = SUBRESOURCE.exec(pathname);
      if (asked.method === 'GET' && pathname === '/api/v1') return say(answer, await this.#discovery());
      const ofCronJobs = CRON_JOBS.exec(pathname);
      if (ofCronJobs?.[1] === 'v1beta1') return say(answer, { status: 404, body: '404 page not found' });
      if (ofCronJobs !== null) asked.url = asked.url?.replace('/v1/', '/v1beta1/') ?? '';
      if (asked.method !== 'PATCH' || found === null) return this.#relay(asked, answer);
      const [, podPath = '', space = '', name = ''] = found;
      const type = asked.headers['content-type'] ?? '';
      const body = await text(asked);
      const taken = await this.#patch({ podPath, space, name, type, body });
      if (taken.status === 200) this.taken.push({ type, body });
      say(answer, taken);
    } catch (error) {
      say(answer, { status: 500, body: { kind: 'Status', message: String(error) } });
    }
  }

  async #discovery(): Promise<Answer> {
    const { status, body } = await this.#call('GET', '/api/v1');
    const list = body as ResourceList;
    const resources = list.resources.map((one) =>
      one.name === 'pods/ephemeralcontainers' ? { ...one, kind: 'Pod', version: 'v1', group: '' } : one,
    );
    return { status, body: { ...list, resources } };
  }

  async #patch({ podPath, space, name, type, body }: Patch): Promise<Answer> {
    if (type !== 'application/strategic-merge-patch+json')
      return { status: 415, body: { kind: 'Status', message: type } };
    for (;;) {
      const got = await this.#call('GET', podPath);
      if (got.status !== 200) return got;
      const before = got.body as Pod;
      const pod = await this.#merged(before, body);
      const refusal = await this.#judged(before, pod, podPath, space);
      // Its node has said something of the pod meanwhile.
      if (refusal?.status === 409) continue;
      if (refusal !== null) return refusal;
      if (await stored(pod, `/registry/pods/${space}/${name}`, before.metadata.resourceVersion ?? '')) {
        return this.#call('GET', podPath);
      }
    }
  }

  /** By Kubernetes' own merge, which knows by what the items of a list are told apart. */
  async #merged(pod: Pod, patch: string): Promise<Pod> {
    const file = path.join(this.#folder, `${pod.metadata.name}.json`);
    writeFileSync(file, JSON.stringify(pod));
    const args = ['patch', '--local', '--type=strategic', '-f', file, '-p', patch, '-o', 'json'];
    return JSON.parse(await kubectl(args)) as Pod;
  }

  /** null for what the real server finds good. A pod that has some already would be refused for their rights: only the first is a first form. */
  async #judged(before: Pod, { metadata, spec }: Pod, podPath: string, space: string): Promise<Answer | null> {
    const former = (before.spec.ephemeralContainers ?? []).map((one) => one.name);
    const added = (spec.ephemeralContainers ?? []).filter((one) => !former.includes(one.name));
    const { name, resourceVersion } = metadata;
    if (former.length === 0) {
      const firstForm = {
        apiVersion: 'v1',
        kind: 'EphemeralContainers',
        metadata: { name, namespace: space, resourceVersion },
        ephemeralContainers: added.map(({ securityContext, ...others }) => others),
      };
      const asked = await this.#call('PUT', `${podPath}/ephemeralcontainers?dryRun=All`, firstForm);
      if (asked.status !== 200) return asked;
    }
    const containers = added.map((one) => ({ name: one.name, image: one.image, securityContext: one.securityContext }));
    const ordinary = { apiVersion: 'v1', kind: 'Pod', metadata: { name: `${name}-judged` }, spec: { containers } };
    const asked = await this.#call('POST', `/api/v1/namespaces/${space}/pods?dryRun=All`, ordinary);
    return asked.status === 201 ? null : asked;
  }

  async #call(method: string, place: string, body?: object): Promise<Answer> {
    const response = await fetch(`http://127.0.0.1:${this.#port}${place}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    return { status: response.status, body: await response.json() };
  }

  #relay(asked: IncomingMessage, answer: ServerResponse): void {
    const { method, url, headers } = asked;
    const host = `127.0.0.1:${this.#port}`;
    const sent = request({ host: '127.0.0.1', port: this.#port, method, path: url, headers: { ...headers, host } });
    sent.on('response', (response) => {
      answer.writeHead(response.statusCode ?? 500, response.headers);
      // Who watches waits for the head.
      answer.flushHeaders();
      response.pipe(answer);
    });
    sent.on('error', () => answer.destroy());
    answer.on('close', () => sent.destroy());
    asked.pipe(sent);
  }

  #upgrade(asked: IncomingMessage, near: Duplex, head: Buffer): void {
    const far = net.connect({ host: '127.0.0.1', port: this.#port, noDelay: true, allowHalfOpen: true });
    const lines: string[] = [`${asked.method} ${asked.url} HTTP/1.1`];
    for (let at = 0; at < asked.rawHeaders.length; at += 2) {
      const name = asked.rawHeaders[at] ?? '';
      const value = name.toLowerCase() === 'host' ? `127.0.0.1:${this.#port}` : asked.rawHeaders[at + 1];
      lines.push(`${name}: ${value}`);
    }
    far.write(`${lines.join('\r\n')}\r\n\r\n`);
    far.write(head);
    near.pipe(far).pipe(near);
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy()).on('close', () => near.destroy());
  }

  async close(): Promise<void> {
    this.#server?.closeAllConnections();
    this.#server?.close();
    this.#proxy?.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function say(answer: ServerResponse, { status, body }: Answer): void {
  answer.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** False when the pod is not any more what was read. */
async function stored(pod: Pod, place: string, revision: string): Promise<boolean> {
  const { resourceVersion, ...metadata } = pod.metadata;
  const [key, value] = [place, JSON.stringify({ ...pod, metadata })].map((part) =>
    Buffer.from(part).toString('base64'),
  );
  const response = await fetch(`${storeUrl()}/v3/kv/txn`, {
    method: 'POST',
    body: JSON.stringify({
      compare: [{ key, target: 'MOD', result: 'EQUAL', mod_revision: revision }],
      success: [{ request_put: { key, value } }],
    }),
  });
  if (!response.ok) throw new Error(`the store of the cluster: ${await response.text()}`);
  return ((await response.json()) as { succeeded?: boolean }).succeeded === true;
}

/** As the API server was told it. */
function storeUrl(): string {
  if (clusterFolder === '') throw new Error('this cluster has neither ephemeral containers nor a store of ours');
  const pid = readFileSync(path.join(clusterFolder, 'run/apiserver.pid'), 'utf8').trim();
  const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  const found = words.find((word) => word.startsWith('--etcd-servers='));
  return found?.slice('--etcd-servers='.length) ?? '';
}
