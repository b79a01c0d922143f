// A hundred sessions of two agents on one port of one target, each with a filter of its own: every request is answered by the one
// session that wants it, and by the target where none does.

import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Frame, makeFrame } from '../../proto/frame.ts';
import { ErrorDetail } from '../../proto/gen/v1/error.ts';
import { Credit, FrameKind } from '../../proto/gen/v1/frame.ts';
import { IncomingMode, Subscribe } from '../../proto/gen/v1/incoming.ts';
import { Transport } from '../../proto/gen/v1/network.ts';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { type Agent, openSession, startAgent, type TestSession } from '../integration/agent-harness.ts';

const PORT = 8080;
/** Of each agent. */
const SESSIONS = 50;
const dist = path.join(import.meta.dirname, '../../dist');
const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);

let network: TargetNetwork;
let agents: Agent[] = [];
let ends: Promise<void>[] = [];

beforeAll(async () => {
  network = await startNetwork();
  await network.serve(network.target, [process.execPath, fixture('web-server.mjs'), `:::${PORT}`]);
});
afterAll(() => network?.[Symbol.asyncDispose]());
beforeEach(async () => {
  const settings = { MIRRORD_WITH_SERVICES: '', MIRRORD_SERVICES_WHEN_WANTED: 'stealer', MIRRORD_LOG_LEVEL: 'warn' };
  agents = [await startAgent(dist, settings), await startAgent(dist, settings)];
});
afterEach(async () => {
  for (const agent of agents) await agent.stop();
  await Promise.all(ends);
  ends = [];
});

/** Steals what has the header of this user. Resolves when that is in force. */
async function steal(agent: Agent, user: number): Promise<void> {
  const session = await openSession(agent, {
    target: { target: { $case: 'pid', value: network.target.pid } },
    opening: { wantsEnvironment: false, wantsFiles: false, wantsIncoming: true },
  });
  expect((await session.next()).kind).toBe(FrameKind.FRAME_KIND_SESSION_OPENED);
  const nothing = Subscribe.decode(new Uint8Array());
  const condition = { $case: 'header', value: `(?i)^x-user: user-${user}$` } as const;
  const filter = { conditions: [{ condition }], isAny: false };
  const what = { mode: IncomingMode.INCOMING_MODE_STEAL, transport: Transport.TRANSPORT_TCP, port: PORT, filter };
  const head = Subscribe.encode({ ...nothing, ...what }).finish();
  session.stream.send(makeFrame(1, FrameKind.FRAME_KIND_SUBSCRIBE, head));
  const answer = await session.next();
  if (answer.kind === FrameKind.FRAME_KIND_ERROR) throw new Error(ErrorDetail.decode(answer.head).message);
  ends.push(serve(session, user));
}

/** The local process of a session, until that ends: answers each request with its user and how long its body was. */
async function serve(session: TestSession, user: number): Promise<void> {
  const connections = new Map<number, string>();
  for (;;) {
    let frame: Frame;
    try {
      frame = await session.next();
    } catch {
      // The agent has been stopped or killed.
      return;
    }
    if (frame.kind === FrameKind.FRAME_KIND_ENDED) connections.delete(frame.id);
    if (frame.kind !== FrameKind.FRAME_KIND_ARRIVED && frame.kind !== FrameKind.FRAME_KIND_DATA) continue;
    let text = (connections.get(frame.id) ?? '') + Buffer.from(frame.data).toString('latin1');
    if (frame.data.length > 0) {
      const granted = Credit.encode({ bytes: frame.data.length }).finish();
      session.stream.send(makeFrame(frame.id, FrameKind.FRAME_KIND_CREDIT, granted));
    }
    for (;;) {
      const head = text.slice(0, text.indexOf('\r\n\r\n') + 4);
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1]);
      if (head.length < 4 || text.length < head.length + length) break;
      text = text.slice(head.length + length);
      const said = head.includes(`x-user: user-${user}\r\n`) ? `local ${user} ${length}` : 'not mine';
      const answer = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${said.length}\r\n\r\n${said}`);
      session.stream.send(makeFrame(frame.id, FrameKind.FRAME_KIND_DATA, undefined, answer));
    }
    connections.set(frame.id, text);
  }
}

/** By 150 users, of whom those in [from, to) are stolen from. */
async function ask(requests: number, from: number, to: number): Promise<unknown> {
  const words = [fixture('many-users.mjs'), `http://10.99.0.1:${PORT}/`, 150, requests, 16, from, to].map(String);
  const enter = ['-t', String(network.beyond.pid), '-n', process.execPath, ...words];
  return JSON.parse((await promisify(execFile)('nsenter', enter, { timeout: 240_000 })).stdout);
}

test('100 sessions with as many filters each get their own requests and the target the others, also when half of them go', async () => {
  const [first, second] = agents as [Agent, Agent];
  for (let user = 0; user < SESSIONS; user++) {
    await Promise.all([steal(first, user), steal(second, SESSIONS + user)]);
  }
  expect(await ask(5_000, 0, 2 * SESSIONS)).toEqual({ right: 5_000, users: 150, wrong: [] });
  // The one that came first holds the target for both.
  first.kill();
  await first.ended;
  await expect.poll(() => ask(150, SESSIONS, 2 * SESSIONS), { timeout: 60_000 }).toMatchObject({ right: 150 });
  expect(await ask(2_000, SESSIONS, 2 * SESSIONS)).toEqual({ right: 2_000, users: 150, wrong: [] });
}, 280_000);
