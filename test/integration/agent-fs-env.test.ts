import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { FileReply } from '#proto/gen/v1/fs_env.ts';
import { SessionEvent, SessionOpened } from '#proto/gen/v1/session.ts';
import { can } from '../can.ts';
import { type Agent, openSession, startAgent } from './agent-harness.ts';

let agent: Agent;
beforeAll(async () => {
  agent = await startAgent(path.join(import.meta.dirname, '../../dist'));
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
