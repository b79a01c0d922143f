import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { type Agent, buildBundles, isAlive, openSession, startAgent } from './agent-harness.ts';

let bundles: Awaited<ReturnType<typeof buildBundles>>;
beforeAll(async () => {
  bundles = await buildBundles();
});
afterAll(() => bundles.dispose());

async function openAndClose(agent: Agent): Promise<string> {
  try {
    const session = await openSession(agent);
    const { kind } = await session.next();
    await session.close();
    return kind === FrameKind.FRAME_KIND_SESSION_OPENED ? 'opened' : `kind ${kind}`;
  } catch (error) {
    return (error as Error).message;
  }
}

describe('an agent that is killed', () => {
  test('leaves no nats-server and no service', async () => {
    const agent = await startAgent(bundles.directory);
    const children = agent.children();
    expect([...children.keys()].toSorted()).toEqual(['fs-env', 'nats-server']);
    agent.kill();
    await agent.ended;
    await expect.poll(() => [...children.values()].filter(isAlive), { timeout: 5_000 }).toEqual([]);
  });

  test('is AGENT_LOST to its clients at once', async () => {
    const agent = await startAgent(bundles.directory);
    const session = await openSession(agent);
    await session.next();
    const start = performance.now();
    agent.kill();
    expect(await session.closed).toMatchObject({ code: 'AGENT_LOST' });
    expect(performance.now() - start).toBeLessThan(2_000);
    await agent.ended;
  });
});

test('an agent whose parent goes ends its sessions in order, its children and itself', async () => {
  const agent = await startAgent(bundles.directory);
  const children = agent.children();
  const session = await openSession(agent);
  await session.next();
  const ended = agent.stop();
  expect((await session.next()).kind).toBe(FrameKind.FRAME_KIND_SESSION_CLOSED);
  session.stream.end();
  expect(await session.closed).toBeNull();
  expect(await ended).toBe(0);
  await expect.poll(() => [...children.values()].filter(isAlive), { timeout: 5_000 }).toEqual([]);
});

test('an agent that ends leaves no file of its own in its runtime folder', async () => {
  const runtimeDir = path.join(bundles.directory, 'runtime');
  const agent = await startAgent(bundles.directory, {
    MIRRORD_RUNTIME_DIR: runtimeDir,
    MIRRORD_GATEWAY_LISTEN: `unix:${runtimeDir}/gateway.sock`,
    MIRRORD_WITH_SERVICES: '',
  });
  expect(readdirSync(runtimeDir).toSorted()).toEqual(['gateway.sock', 'nats', 'nats.conf']);
  await agent.stop();
  expect(readdirSync(runtimeDir)).toEqual([]);
});

test('a nats-server that is killed is started anew at the same place, and sessions are served again', async () => {
  const agent = await startAgent(bundles.directory);
  const held = await openSession(agent);
  await held.next();
  const natsPid = agent.children().get('nats-server') as number;
  process.kill(natsPid, 'SIGKILL');
  held.request(1, { $case: 'read', value: { handle: 1, offset: 0n, length: 7 } });
  expect((await held.next()).data).toHaveLength(7);
  await expect.poll(() => openAndClose(agent), { timeout: 15_000, interval: 200 }).toBe('opened');
  expect(agent.children().get('nats-server')).not.toBe(natsPid);
  await held.close();
  expect(await agent.stop()).toBe(0);
});

describe('an agent that cannot start says why and leaves nothing', () => {
  const start = (settings: Record<string, string>) => startAgent(bundles.directory, settings);

  test('with every fault of its settings at once', async () => {
    const settings = { MIRRORD_GATEWAY_LISTEN: '', MIRRORD_MAX_SESSIONS: 'many', MIRRORD_WITH_SERVICES: 'fs-env,x' };
    await expect(start(settings)).rejects.toThrow(
      /CONFIG_INVALID.*MIRRORD_GATEWAY_LISTEN is not set\\nMIRRORD_WITH_SERVICES is \\"x\\".*\\nMIRRORD_MAX_SESSIONS is \\"many\\"/,
    );
  });

  test('with an address that is none', async () => {
    await expect(start({ MIRRORD_GATEWAY_LISTEN: 'somewhere' })).rejects.toThrow('neither unix:/path nor host:port');
  });

  test('with a key that others may read', async () => {
    const file = path.join(bundles.directory, 'open-key');
    writeFileSync(file, 'ab'.repeat(32), { mode: 0o644 });
    await expect(start({ MIRRORD_SESSION_KEY_FILE: file })).rejects.toThrow('mode 644 lets others read it');
  });

  test('with a runtime folder that others may enter', async () => {
    const folder = path.join(bundles.directory, 'open-folder');
    mkdirSync(folder, { mode: 0o755 });
    await expect(start({ MIRRORD_RUNTIME_DIR: folder })).rejects.toThrow('NOT_PERMITTED');
  });
});
