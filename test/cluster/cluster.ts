// A test's own namespace in a real cluster, what is deployed there, runs of mirrord against it, and the proof that nothing of
// them is left. Which cluster and which images, scripts/test-cluster says.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = path.join(import.meta.dirname, '../..');
const OURS = 'app.kubernetes.io/managed-by=mirrord';
/** On a machine with two busy cores. */
const DEADLINE_S = 120;
/** A kubelet whose runtime has failed to end a pod (`ttrpc: closed`) tries again a minute later, and that may fail, too. */
const GONE_S = 240;

export const AGENT_IMAGE = required('MIRRORD_TEST_IMAGE');
export const DEMO_IMAGE = required('MIRRORD_TEST_DEMO_IMAGE');
/** The two nodes on which demo services run; they may be the same. */
export const [NODE_A = '', NODE_B = NODE_A] = required('MIRRORD_TEST_NODES').split(',');

function required(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run npm run test:cluster`);
  return value;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Rejects with what it said on stderr when it fails. */
export async function kubectl(args: readonly string[], input = ''): Promise<string> {
  const ended = await tryKubectl(args, input);
  if (ended.code !== 0) throw new Error(`kubectl ${args.join(' ')}: ${ended.stderr}`);
  return ended.stdout;
}

export async function tryKubectl(args: readonly string[], input = ''): Promise<Ended> {
  const child = spawn('kubectl', args, { stdio: 'pipe' });
  child.stdin.end(input);
  return new Run(child).ended;
}

/** A child whose output is kept, and waited for by its words. */
export class Run {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  #onOutput: () => void = () => {};

  constructor(child: ChildProcessWithoutNullStreams) {
    this.child = child;
    child.stdout.on('data', (chunk: Buffer) => this.#add('stdout', chunk));
    child.stderr.on('data', (chunk: Buffer) => this.#add('stderr', chunk));
    child.stdin.on('error', () => {
      // It has ended, which its end tells.
    });
    this.ended = once(child, 'close').then(([code, signal]) => {
      this.#onOutput();
      return { code, signal, stdout: this.stdout, stderr: this.stderr };
    });
  }

  get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  #add(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    this[stream] += chunk.toString();
    this.#onOutput();
  }

  /** Rejects when it ends without having said it. */
  async says(stream: 'stdout' | 'stderr', words: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = words.exec(this[stream]);
      if (found !== null) return found;
      if (this.hasEnded && this.child.stdout.readableEnded && this.child.stderr.readableEnded) {
        throw new Error(`ended without ${words}: ${this.stdout}\n${this.stderr}`);
      }
      await new Promise<void>((resolve) => {
        this.#onOutput = resolve;
      });
    }
  }
}

/** Asks each URL until it answers, for a while. In every demo image. */
const ANSWERS = `import sys, time, urllib.request as u
until = time.monotonic() + 10
for url in sys.argv[1:]:
    while True:
        try:
            u.urlopen(url, timeout=5).read()
            break
        except Exception as error:
            if time.monotonic() > until: sys.exit(f'{url}: {error}')
            time.sleep(0.1)`;

export class TestNamespace {
  readonly name = `mirrord-test-${randomBytes(4).toString('hex')}`;
  /** Of the services that are ready, the address of their Service. */
  readonly #addresses = new Map<string, string>();
  /** Their agents' pods must be gone at the end of a test. */
  readonly #runs: Run[] = [];

  async create(labels: Readonly<Record<string, string>> = {}): Promise<this> {
    await this.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.name, labels } }]);
    return this;
  }

  /** Objects of this namespace; it is filled in. */
  async apply(objects: readonly object[]): Promise<void> {
    const items = objects.map((object) => {
      const { metadata, ...others } = object as { metadata: object };
      return { ...others, metadata: { namespace: this.name, ...metadata } };
    });
    await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  }

  kubectl(...args: string[]): Promise<string> {
    return kubectl(['-n', this.name, ...args]);
  }

  /** A demo service with a Service before it, on a node. `beside`: more containers of its pod. */
  async deploy(
    service: string,
    language: 'node' | 'python',
    node: string,
    beside: readonly object[] = [],
  ): Promise<void> {
    const labels = { app: service };
    const command = language === 'node' ? ['node', '/app/service.mjs'] : ['python3', '/app/service.py'];
    const container = {
      name: service,
      image: DEMO_IMAGE,
      imagePullPolicy: 'IfNotPresent',
      command,
      env: [
        { name: 'SERVICE', value: service },
        { name: 'GREETING', value: `hello from ${service}` },
      ],
      readinessProbe: {
        httpGet: { path: '/ready', port: 8080 },
        periodSeconds: 1,
        timeoutSeconds: 5,
        failureThreshold: 100,
      },
      resources: { requests: { cpu: '1m', memory: '16Mi' }, limits: { memory: '256Mi' } },
    };
    const pod = {
      nodeSelector: { 'kubernetes.io/hostname': node },
      terminationGracePeriodSeconds: 1,
      containers: [container, ...beside],
    };
    await this.apply([
      {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: service },
        spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: pod } },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: service },
        spec: { selector: labels, ports: [{ port: 80, targetPort: 8080 }] },
      },
    ]);
  }

  /**
   * Waits until the pods of the services are ready, and each Service answers by its name from a pod of each of them: the
   * cluster's name server and the nodes learn of a Service some time after it is there, and a pod that is ready says nothing of it.
   */
  async ready(...services: readonly string[]): Promise<void> {
    const isOut = ['rollout', 'status', `--timeout=${DEADLINE_S}s`];
    await Promise.all(services.map((service) => this.kubectl(...isOut, `deployment/${service}`)));
    for (const service of services) {
      const address = await this.kubectl('get', 'service', service, '-o', 'jsonpath={.spec.clusterIP}');
      this.#addresses.set(service, address);
    }
    await Promise.all([...this.#addresses.keys()].map((from) => this.#answeredIn(from)));
  }

  async #answeredIn(from: string): Promise<void> {
    const urls = [...this.#addresses.keys()].map((service) => `http://${service}/ready`);
    const asks = ['-n', this.name, 'exec', `deploy/${from}`, '-c', from, '--', 'python3', '-c', ANSWERS, ...urls];
    const untilMs = performance.now() + DEADLINE_S * 1_000;
    for (let asked = 1; ; asked += 1) {
      const { code, stderr } = await tryKubectl(asks);
      if (code === 0) return;
      if (performance.now() > untilMs) throw new Error(`deployment/${from} of ${this.name} is not answered: ${stderr}`);
      // A change that tells of them once more, for who missed their beginning.
      await tryKubectl(['-n', this.name, 'annotate', '--overwrite', 'services', '--all', `asked-by-${from}=${asked}`]);
    }
  }

  /** Of a service that is ready, by the address of its Service: for who does not ask about names. */
  url(service: string, place = ''): string {
    const address = this.#addresses.get(service);
    if (address === undefined) throw new Error(`${service} is not ready`);
    return `http://${address.includes(':') ? `[${address}]` : address}/${place}`;
  }

  /** `mirrord exec` with this namespace's targets; `through`: what it is run by. */
  start(args: readonly string[], env: NodeJS.ProcessEnv = {}, through: readonly string[] = []): Run {
    const [file = '', ...rest] = [...through, path.join(root, 'bin/mirrord'), 'exec', '-n', this.name, ...args];
    const child = spawn(file, rest, {
      stdio: 'pipe',
      env: {
        ...process.env,
        MIRRORD_AGENT_IMAGE: AGENT_IMAGE,
        MIRRORD_AGENT_STARTUP_TIMEOUT: String(DEADLINE_S),
        ...env,
      },
    });
    const run = new Run(child);
    this.#runs.push(run);
    return run;
  }

  exec(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    const run = this.start(args, env);
    run.child.stdin.end();
    return run.ended;
  }

  /** After each test: what still runs of it is killed, and nothing of its agents may be left in the cluster or on a node. */
  async assertClean(): Promise<void> {
    const runs = this.#runs.splice(0);
    for (const { child } of runs) child.kill('SIGKILL');
    const ended = await Promise.all(runs.map((run) => run.ended));
    for (const kind of ['jobs', 'pods']) await this.#gone(kind);
    const pods = ended.flatMap(({ stderr }) =>
      [...stderr.matchAll(/agent: pod (\S+) in/g)].map(([, pod]) => pod ?? ''),
    );
    for (const pod of pods) await untilTrue(() => agentProcesses(pod).length === 0, `processes of ${pod} are left`);
  }

  async #gone(kind: string): Promise<void> {
    const found = () => this.kubectl('get', kind, '-l', OURS, '-o', 'name');
    if ((await found()) === '') return;
    const waited = await tryKubectl([
      '-n',
      this.name,
      'wait',
      '--for=delete',
      kind,
      '-l',
      OURS,
      `--timeout=${GONE_S}s`,
    ]);
    // It may have gone before the wait began.
    const left = await found();
    if (left !== '') throw new Error(`left in ${this.name}: ${left} ${waited.stderr}`);
  }

  async delete(): Promise<void> {
    await kubectl(['delete', 'namespace', this.name, '--wait=false']);
  }
}

/** On the nodes of this machine; elsewhere none is seen. The name of a pod is the host name of its containers. */
export function agentProcesses(pod: string, script = ''): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`HOSTNAME=${pod}`)) return false;
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(script);
      } catch {
        return false;
      }
    });
}

/** The first of them; to process 0 a signal would go to all that run the tests. */
export function agentProcess(pod: string, script = ''): number {
  const [pid] = agentProcesses(pod, script);
  if (pid === undefined) throw new Error(`no process ${JSON.stringify(script)} in ${pod}`);
  return pid;
}

/** For what announces itself to nobody: it is looked at now and then, until the deadline. */
export async function untilTrue(isSo: () => boolean | Promise<boolean>, otherwise: string): Promise<void> {
  const untilMs = performance.now() + DEADLINE_S * 1_000;
  while (!(await isSo())) {
    if (performance.now() > untilMs) throw new Error(otherwise);
    await sleep(50);
  }
}
