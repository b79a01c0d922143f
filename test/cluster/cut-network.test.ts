// A laptop whose network is cut, without a word to anybody: the client lives in a network namespace of its own, with one link to
// the API server, and that goes down. Wants the cluster of this machine, whose API server listens at every address.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { agentProcesses, kubectl, NODE_A, type Run, TestNamespace, untilTrue } from './cluster.ts';

const namespace = new TestNamespace();
/** As docs/kubernetes.md states it: the client is silent for 12.5 s, then its time to come back is over. */
const SILENT_MS = 12_500;
const RECONNECT_S = 1;
/** Detection by a clock that ticks, the end of the containers, and a machine that is busy with others. */
const SLACK_MS = 45_000;

/** The laptop: a namespace with a link to this machine, which can be cut. */
class Laptop {
  readonly #name = `cut-${randomBytes(4).toString('hex')}`;
  readonly #link = `c${randomBytes(5).toString('hex')}`;
  readonly #net = `10.98.${randomBytes(1)[0]}`;
  readonly #folder = mkdtempSync(path.join(tmpdir(), 'mirrord-cut-'));

  constructor() {
    const inside = ['netns', 'exec', this.#name, 'ip'];
    ip('netns', 'add', this.#name);
    ip('link', 'add', this.#link, 'type', 'veth', 'peer', 'name', 'laptop', 'netns', this.#name);
    ip('addr', 'add', `${this.#net}.1/24`, 'dev', this.#link);
    ip('link', 'set', this.#link, 'up');
    ip(...inside, 'link', 'set', 'lo', 'up');
    ip(...inside, 'addr', 'add', `${this.#net}.2/24`, 'dev', 'laptop');
    ip(...inside, 'link', 'set', 'laptop', 'up');
  }

  /** What runs a command there. */
  get through(): readonly string[] {
    return ['nsenter', `--net=/run/netns/${this.#name}`, '--'];
  }

  /** The kubeconfig of the test, with the address at which this machine is seen from there. */
  async kubeconfig(): Promise<string> {
    const config = JSON.parse(await kubectl(['config', 'view', '--raw', '--minify', '--flatten', '-o', 'json'])) as {
      clusters: { cluster: Record<string, unknown> }[];
    };
    for (const { cluster } of config.clusters) {
      const server = new URL(String(cluster['server']));
      cluster['tls-server-name'] = server.hostname;
      server.hostname = `${this.#net}.1`;
      cluster['server'] = server.toString();
    }
    const file = path.join(this.#folder, 'kubeconfig');
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return file;
  }

  cut(): void {
    ip('link', 'set', this.#link, 'down');
  }

  remove(): void {
    ip('link', 'del', this.#link);
    ip('netns', 'del', this.#name);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args);
}

let laptop: Laptop;
beforeAll(async () => {
  laptop = new Laptop();
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_A);
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(async () => {
  laptop.remove();
  await namespace.delete();
});

const SERVER = [
  'require("node:http").createServer((request, response) => response.end("local " + request.url)).listen(8080, () => ',
  '  console.log("listening"));',
  // Outlives a client that was killed, but not the test.
  'process.stdin.resume().on("end", () => process.exit());',
].join('\n');

/** From within the pod, by its Service. */
async function ask(place: string): Promise<string> {
  const program = 'fetch(process.argv[1]).then((r) => r.text()).then(console.log)';
  const node = ['exec', 'deploy/shop', '--', 'node', '-e', program];
  return (await namespace.kubectl(...node, namespace.url('shop', place))).trim();
}

async function stealing(): Promise<{ run: Run; pod: string }> {
  const env = { MIRRORD_AGENT_RECONNECT_TIMEOUT: String(RECONNECT_S), KUBECONFIG: await laptop.kubeconfig() };
  const command = ['--steal', '-t', 'deployment/shop', '--', 'node', '-e', SERVER];
  const run = namespace.start(command, env, laptop.through);
  await run.says('stdout', /listening/);
  await run.says('stderr', /stealing port 8080/);
  const [, pod = ''] = await run.says('stderr', /agent: pod (\S+) in/);
  return { run, pod };
}

/** Of the target: that it is the same process as ever. */
const identity = () =>
  namespace.kubectl(
    ...['get', 'pods', '-l', 'app=shop', '-o'],
    'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].containerID}{end}',
  );

test('pod, job, redirect and processes are gone in the stated time, and the target goes on as before', async () => {
  const before = await identity();
  const { run, pod } = await stealing();
  expect(await ask('taken')).toBe('local /taken');
  expect(agentProcesses(pod).length).toBeGreaterThan(0);

  const cutMs = performance.now();
  laptop.cut();
  await untilTrue(() => agentProcesses(pod).length === 0, `the agent ${pod} waits for ever`);
  const tookMs = performance.now() - cutMs;
  expect(tookMs).toBeGreaterThan(SILENT_MS / 2);
  expect(tookMs).toBeLessThan(SILENT_MS + RECONNECT_S * 1_000 + SLACK_MS);

  expect(await ask('later')).toContain('"path":"/later"');
  expect(await identity()).toBe(before);
  await run.says('stderr', /the session is lost: the agent could not be reached again/);
});
