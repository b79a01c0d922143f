// The agent as it runs in a pod: its client known by a public key, its services in containers of their own (here: processes
// that are not its children), and an end of everything when it ends.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { SessionOpened } from '#proto/gen/v1/session.ts';
import { mintToken, newSessionId, newSigningKey, signToken } from '#proto/token.ts';
import { type Agent, buildBundles, openSession, startAgent } from './agent-harness.ts';

let bundles: { directory: string; dispose(): void };
beforeAll(async () => {
  bundles = await buildBundles();
});
afterAll(() => bundles.dispose());

let folder = '';
let agent: Agent | null = null;
let service: ChildProcess | null = null;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'agent-pod-'));
});
afterEach(async () => {
  agent?.kill();
  await agent?.ended;
  service?.kill('SIGKILL');
  if (service !== null && service.exitCode === null && service.signalCode === null) await once(service, 'exit');
  agent = null;
  service = null;
  rmSync(folder, { recursive: true, force: true });
});

const { privateKey, publicKey } = newSigningKey();

/** The service's container may start before the agent's or after it. */
async function startPod(settings: Record<string, string> = {}): Promise<{ agent: Agent; service: ChildProcess }> {
  const runtimeDir = path.join(folder, 'node');
  service = spawn(process.execPath, [path.join(bundles.directory, 'beside.js'), 'fs-env'], {
    // The fake ends with its standard input.
    stdio: ['pipe', 'ignore', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      MIRRORD_RUNTIME_DIR: runtimeDir,
      MIRRORD_SESSION_KEY_FILE: path.join(runtimeDir, 'session.key'),
      MIRRORD_NODE_NAME: 'test-node',
    },
  });
  agent = await startAgent(bundles.directory, {
    MIRRORD_RUNTIME_DIR: runtimeDir,
    MIRRORD_GATEWAY_LISTEN: '127.0.0.1:0',
    MIRRORD_SESSION_KEY_FILE: '',
    MIRRORD_CLIENT_PUBLIC_KEY: publicKey,
    MIRRORD_WITH_SERVICES: '',
    MIRRORD_SERVICES_BESIDE: 'fs-env',
    ...settings,
  });
  return { agent, service };
}

function signed(): { token: string } {
  return { token: signToken(privateKey, newSessionId(), 60) };
}

test('a session is opened with a token that the client signed, and served by the service beside the agent', async () => {
  const pod = await startPod();
  const session = await openSession(pod.agent, signed());
  const opened = await session.next();
  expect(opened.kind).toBe(FrameKind.FRAME_KIND_SESSION_OPENED);
  const { facts } = SessionOpened.decode(opened.head);
  expect(facts?.environment.map(({ value }) => Buffer.from(value).toString())).toEqual(['fake fs-env']);
  await session.close();
});

test('nobody else is admitted: not by the key between the services, not by another client’s', async () => {
  const pod = await startPod();
  const own = Buffer.from(readFileSync(path.join(folder, 'node/session.key'), 'utf8'), 'hex');
  for (const token of [mintToken(own, newSessionId(), 60), signToken(newSigningKey().privateKey, newSessionId(), 60)]) {
    await expect(openSession(pod.agent, { token })).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  }
});

test('an agent whose client never comes ends, and the service beside it too', async () => {
  const pod = await startPod({ MIRRORD_FIRST_SESSION_MS: '1' });
  const exited = pod.service.exitCode === null ? once(pod.service, 'exit') : Promise.resolve([pod.service.exitCode]);
  expect(await pod.agent.ended).toBe(0);
  expect(await exited).toEqual([0, null]);
});

test('it ends when its only session is over, however that ended', async () => {
  const pod = await startPod({ MIRRORD_IDLE_MS: '1' });
  const session = await openSession(pod.agent, signed());
  await session.next();
  session.stream.destroy();
  expect(await pod.agent.ended).toBe(0);
  expect(pod.agent.log()).toContain('there was no session for 1 ms');
});

test('an agent that its node starts anew ends at once, and in order: its session is over', async () => {
  const pod = await startPod();
  const exited = once(pod.service, 'exit');
  pod.agent.kill();
  await exited;
  const again = spawn(process.execPath, [path.join(bundles.directory, 'agent.js')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      MIRRORD_RUNTIME_DIR: path.join(folder, 'node'),
      MIRRORD_GATEWAY_LISTEN: '127.0.0.1:0',
      MIRRORD_CLIENT_PUBLIC_KEY: publicKey,
      MIRRORD_SERVICES_BESIDE: 'fs-env',
    },
  });
  let log = '';
  again.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  expect(await once(again, 'close')).toEqual([0, null]);
  expect(log).toContain('it is not started anew');
});

test('the service ends when the agent is killed', async () => {
  const pod = await startPod();
  const exited = once(pod.service, 'exit');
  pod.agent.kill();
  expect(await exited).toEqual([0, null]);
});
