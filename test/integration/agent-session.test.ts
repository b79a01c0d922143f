import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { fromErrorDetail } from '#proto/errors.ts';
import { makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { FileReply } from '#proto/gen/v1/fs_env.ts';
import { SessionEvent, SessionOpened } from '#proto/gen/v1/session.ts';
import { sessionPath } from '#proto/grpc-tuning.ts';
import { mintToken, newSessionId } from '#proto/token.ts';
import { type Agent, buildBundles, openSession, socketCount, startAgent } from './agent-harness.ts';

let bundles: Awaited<ReturnType<typeof buildBundles>>;
let agent: Agent;
let baseline: number;
beforeAll(async () => {
  bundles = await buildBundles();
  agent = await startAgent(bundles.directory, { MIRRORD_MAX_SESSIONS: '2', MIRRORD_MAX_REQUESTS: '2' });
  baseline = socketCount(agent.pid);
});
beforeEach(() => expect(socketCount(agent.pid)).toBe(baseline));
afterEach(async () => {
  await expect.poll(() => socketCount(agent.pid), { timeout: 10_000 }).toBe(baseline);
});
afterAll(async () => {
  expect(await agent.stop()).toBe(0);
  bundles.dispose();
});

const read = (length: number) => ({ $case: 'read', value: { handle: 1, offset: 0n, length } }) as const;
const open = (path: string) =>
  ({ $case: 'open', value: { path: Buffer.from(path), flags: 0, mode: 0, inlineBytes: 0 } }) as const;
const hang = { $case: 'sync', value: { handle: 1, dataOnly: false } } as const;
const crash = { $case: 'makeDir', value: { path: Buffer.from('/'), mode: 0 } } as const;
const errorIn = (head: Uint8Array) => fromErrorDetail(ErrorDetail.decode(head));

describe('a session', () => {
  test('opens with facts and limits, relays requests and answers, and closes in order', async () => {
    const session = await openSession(agent);
    const opened = SessionOpened.decode((await session.next()).head);
    expect(opened).toMatchObject({ sessionId: session.sessionId, limits: { requests: 2, fileHandles: 1_024 } });
    expect(opened.facts?.pid).toBe(process.pid);
    expect(opened.facts?.environment.map(({ value }) => String(value))).toEqual(['fake fs-env']);
    session.request(1, read(100_000));
    const answer = await session.next();
    expect([answer.id, answer.kind, answer.data.length]).toEqual([1, FrameKind.FRAME_KIND_FILE_REPLY, 100_000]);
    await session.close();
    expect(await session.closed).toBeNull();
  });

  test('without environment and files needs no fs-env', async () => {
    const session = await openSession(agent, { opening: { wantsEnvironment: false, wantsFiles: false } });
    const { facts } = SessionOpened.decode((await session.next()).head);
    expect([facts?.pid, facts?.environment]).toEqual([process.pid, []]);
    session.request(1, read(1));
    expect(errorIn((await session.next()).head)).toMatchObject({ code: 'UNSUPPORTED' });
    await session.close();
  });

  test('megabytes more than every window and credit arrive whole', async () => {
    const session = await openSession(agent);
    await session.next();
    const count = 200;
    let received = 0;
    session.request(1, read(256 * 1024));
    for (let id = 3; id <= count * 2; id += 2) {
      session.request(id, read(256 * 1024));
      const { data } = await session.next();
      received += data.length;
    }
    received += (await session.next()).data.length;
    expect(received).toBe(count * 256 * 1024);
    await session.close();
  });

  test('answers what is in flight before it says goodbye', async () => {
    const session = await openSession(agent);
    await session.next();
    session.request(1, read(1_000));
    session.stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSE));
    const kinds = [(await session.next()).kind, (await session.next()).kind];
    expect(kinds).toEqual([FrameKind.FRAME_KIND_FILE_REPLY, FrameKind.FRAME_KIND_SESSION_CLOSED]);
    session.stream.end();
    expect(await session.closed).toBeNull();
  });

  test('with a request that is never answered still ends, by its draining deadline', async () => {
    const session = await openSession(agent);
    await session.next();
    session.request(1, hang);
    session.stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSE));
    expect(await session.closed).toMatchObject({ code: 'DEADLINE_EXCEEDED' });
  });

  test('closes of handles are passed on and not waited for', async () => {
    const session = await openSession(agent);
    await session.next();
    for (let id = 1; id < 1_000; id += 2) session.request(id, { $case: 'close', value: { handle: id } });
    await session.close();
  });
});

describe('is refused', () => {
  test('a bad token, before any frame', async () => {
    const token = mintToken(Buffer.alloc(32, 6), newSessionId(), 60);
    await expect(openSession(agent, { token })).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  test('a session beyond the limit', async () => {
    const sessions = [await openSession(agent), await openSession(agent)];
    for (const session of sessions) await session.next();
    await expect(openSession(agent)).rejects.toMatchObject({ code: 'LIMIT_REACHED' });
    for (const session of sessions) await session.close();
  });

  test('a request beyond the limit, and only that one', async () => {
    const session = await openSession(agent);
    await session.next();
    for (const id of [1, 3, 5]) session.request(id, hang);
    const refused = await session.next();
    expect([refused.id, errorIn(refused.head).code]).toEqual([5, 'LIMIT_REACHED']);
    session.stream.destroy();
  });

  test('a target that is not there', async () => {
    const session = await openSession(agent, { target: { target: { $case: 'pid', value: 4_194_304 } } });
    expect(await session.closed).toMatchObject({
      code: 'TARGET_NOT_FOUND',
      message: 'no process 4194304 on this machine',
    });
  });

  test('a client of another protocol, told both versions', async () => {
    const session = await openSession(agent, { opening: { protocolVersion: 9 } });
    expect(await session.closed).toMatchObject({
      code: 'UNSUPPORTED',
      message: 'client speaks version 9, this agent version 1 of the protocol',
    });
  });

  test('a request with an id that is not a client’s', async () => {
    const session = await openSession(agent);
    await session.next();
    session.request(2, read(1));
    expect(await session.closed).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  test('a frame of an unknown kind, by an answer to its id', async () => {
    const session = await openSession(agent);
    await session.next();
    session.stream.send(makeFrame(7, 4_000 as FrameKind));
    const answer = await session.next();
    expect([answer.id, errorIn(answer.head).code]).toEqual([7, 'UNSUPPORTED']);
    await session.close();
  });

  test('an up call without its down call, within 10 s', async () => {
    const client = new Client(agent.gateway, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${mintToken(agent.key, newSessionId(), 60)}`);
    metadata.set('mirrord-direction', 'up');
    const asIs = (bytes: Buffer) => bytes;
    const startedMs = performance.now();
    const call = client.makeBidiStreamRequest(sessionPath('Gateway'), asIs, asIs, metadata).resume();
    const error = await new Promise<ServiceError>((resolve) => call.once('error', resolve));
    expect(error.details).toBe('no down call within 10000 ms');
    expect(performance.now() - startedMs).toBeLessThan(12_000);
    client.close();
  });
});

test('fs-env that dies comes back to its session: what can be asked twice is, what cannot is an error', async () => {
  const session = await openSession(agent);
  await session.next();
  session.request(1, open('/kept'));
  const opened = await session.next();
  expect(FileReply.decode(opened.head).result).toMatchObject({ $case: 'opened' });
  session.request(3, hang);
  session.request(5, crash);
  const lost = await session.next();
  expect([lost.id, errorIn(lost.head).code]).toEqual([5, 'SERVICE_UNAVAILABLE']);
  session.request(7, read(1));
  const { event } = SessionEvent.decode((await session.next()).head);
  expect(event).toMatchObject({ $case: 'serviceBack', value: { service: 'fs-env', filesLost: [] } });
  // Asked while it was away, of the file as it is known since before.
  expect([(await session.next()).id, agent.log()]).toEqual([7, expect.stringContaining('service is back')]);
  // It dies of the same again: its second time is its last.
  session.request(9, crash);
  const again = [await session.next(), await session.next()];
  expect(again.map(({ id, head }) => [id, errorIn(head).code]).toSorted()).toEqual([
    [3, 'SERVICE_UNAVAILABLE'],
    [9, 'SERVICE_UNAVAILABLE'],
  ]);
  await session.next();
  await session.close();
});

test('no secret of a session is in the log', async () => {
  const token = mintToken(agent.key, newSessionId(), 60);
  const session = await openSession(agent, { token });
  await session.next();
  await session.close();
  expect(agent.log()).toContain('session opened');
  for (const secret of [token, token.split('.')[3] ?? '', agent.key.toString('hex'), 'fake fs-env', 'nats://']) {
    expect(agent.log()).not.toContain(secret);
  }
});
