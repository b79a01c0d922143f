import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { FileReply } from '#proto/gen/v1/fs_env.ts';
import { SessionEvent, SessionOpened } from '#proto/gen/v1/session.ts';
import { newSessionId, newSigningKey, signToken } from '#proto/token.ts';
import { can } from '../can.ts';
import { startTarget } from '../fixtures/target.ts';
import { type Agent, openSession, startAgent } from './agent-harness.ts';

const dist = path.join(import.meta.dirname, '../../dist');
let agent: Agent;
beforeAll(async () => {
  agent = await startAgent(dist);
});
afterAll(async () => {
  expect(await agent.stop()).toBe(0);
});

test.skipIf(!can.root.yes)(
  `the environment and a file of a target come through the agent (${can.root.why})`,
  async () => {
    const target = spawn('cat', { env: { SHOP_MODE: 'test' }, stdio: ['pipe', 'ignore', 'ignore'] });
    await once(target, 'spawn');
    const session = await openSession(agent, { target: { target: { $case: 'pid', value: target.pid as number } } });
    const { facts } = SessionOpened.decode((await session.next()).head);
    expect(facts?.environment.map(({ name, value }) => `${name}=${value}`)).toEqual(['SHOP_MODE=test']);
    const file = Buffer.from('/proc/sys/kernel/ostype');
    session.request(1, { $case: 'stat', value: { of: { $case: 'path', value: file }, noFollow: false } });
    const stat = await session.next();
    expect([stat.kind, FileReply.decode(stat.head).errno]).toEqual([FrameKind.FRAME_KIND_FILE_REPLY, 0]);
    target.stdin.end();
    const told = await session.next();
    expect(told.kind).toBe(FrameKind.FRAME_KIND_SESSION_EVENT);
    expect(SessionEvent.decode(told.head).event).toEqual({ $case: 'targetEnded', value: { pid: target.pid } });
    await session.close();
  },
);

describe.skipIf(!can.root.yes)(`an agent in the pod of its target, as an ephemeral container (${can.root.why})`, () => {
  const { privateKey, publicKey } = newSigningKey();
  const settings = { MIRRORD_CLIENT_PUBLIC_KEY: publicKey, MIRRORD_BESIDE_TARGET: '1', MIRRORD_NODE_NAME: 'agent' };
  const inPod = (pid: number) => [
    ...['nsenter', '-t', String(pid), '-p', 'unshare', '--mount', '--propagation', 'private'],
    ...['sh', '-c', 'mount -t proc proc /proc && exec "$@"', 'sh'],
  ];

  test('sees the target as the first process, and serves its environment and files to the one client it knows', async () => {
    await using target = await startTarget({ env: { SHOP_MODE: 'test' }, files: { '/etc/shop': 'open' } });
    const beside = await startAgent(dist, settings, inPod(target.pid));
    const sessionId = newSessionId();
    const session = await openSession(beside, {
      token: signToken(privateKey, sessionId, 60),
      target: { target: { $case: 'pid', value: 1 } },
    });
    const { facts } = SessionOpened.decode((await session.next()).head);
    expect(facts?.environment.map(({ name, value }) => `${name}=${value}`)).toContain('SHOP_MODE=test');
    const open = { path: Buffer.from('/etc/shop'), flags: 0, mode: 0, inlineBytes: 100 };
    session.request(1, { $case: 'open', value: open });
    expect(Buffer.from((await session.next()).data).toString()).toBe('open');
    await session.close();
    expect(await beside.stop()).toBe(0);
  });

  test('does not take itself for the target where the runtime does not share its processes', async () => {
    const alone = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
    await expect(startAgent(dist, settings, alone)).rejects.toThrow('does not share the target’s processes');
  });
});
