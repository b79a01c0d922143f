import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { encodeFrame, WireDecoder, type WireFrame, WireKind } from '#proto/wire.ts';
import { replyRead, replyResult, type WireRequest } from '#proto/wire-client.ts';
import { encodeNetRequest, flowData } from '#proto/wire-net.ts';
import { decodeReply, decodeSetup, encodeRequest } from '#proto/wire-supervisor.ts';
import { LayerLink, type LinkHandlers } from './link.ts';

const SETUP = { features: 1, inlineBytes: 1000, hostName: Buffer.from('shop-1'), rules: [] };
const STAT: WireRequest = { kind: WireKind.STAT, flags: 0, path: Buffer.from('/a') };

let openPairs: (() => void)[] = [];

afterEach(() => {
  for (const close of openPairs) close();
  openPairs = [];
});

function until(isTrue: () => boolean): Promise<void> {
  return vi.waitUntil(isTrue, { timeout: 30_000, interval: 1 }).then(() => {});
}

/** A link on one end of a real socket, the test in the place of the supervisor on the other. */
async function openLink(changes: Partial<LinkHandlers> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'mirrord-link-'));
  const server = createServer();
  const path = join(folder, 'socket');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const supervisor = connect(path);
  const socket = await accepted;
  server.close();
  const closed: (AppError | null)[] = [];
  const replies: WireFrame[] = [];
  const handlers: LinkHandlers = {
    onHello: () => SETUP,
    onEnded: () => {},
    onStarted: () => {},
    onFailed: () => {},
    onLog: () => {},
    answer: (id) => replyResult(id, 0),
    release: () => {},
    onClosed: (error) => closed.push(error),
    ...changes,
  };
  const link = new LayerLink(socket, handlers);
  const decoder = new WireDecoder();
  supervisor.on('data', (chunk: Buffer) => replies.push(...decoder.push(chunk)));
  supervisor.on('error', () => {});
  openPairs.push(() => {
    link.close();
    supervisor.destroy();
    rmSync(folder, { recursive: true });
  });
  const say = (id: bigint, request: WireRequest) => {
    for (const piece of encodeRequest(id, request)) supervisor.write(piece);
  };
  return { link, supervisor, socket, say, closed, replies };
}

test('hello is answered with the setup', async () => {
  const lines: string[] = [];
  const { say, replies } = await openLink({
    onHello: (_capabilities, said) => {
      lines.push(...said);
      return SETUP;
    },
  });
  say(0n, { kind: WireKind.HELLO, version: 1, capabilities: 1, lines: ['no FUSE here'] });
  await until(() => replies.length === 1);
  expect(decodeSetup(replies[0] as WireFrame)).toEqual(SETUP);
  expect(lines).toEqual(['no FUSE here']);
});

test('a supervisor of another version is refused', async () => {
  const { say, closed } = await openLink();
  say(0n, { kind: WireKind.HELLO, version: 2, capabilities: 0, lines: [] });
  await until(() => closed.length === 1);
  expect(closed[0]?.code).toBe('PROTOCOL_VIOLATION');
});

test('every question gets one answer, by its own id, in whatever order they are ready', async () => {
  const ready = new Map<bigint, () => void>();
  const { say, replies } = await openLink({
    answer: (id) => new Promise((resolve) => ready.set(id, () => resolve(replyResult(id, Number(id))))),
  });
  for (const id of [1n, 2n, 3n]) say(id, STAT);
  await until(() => ready.size === 3);
  for (const id of [3n, 1n, 2n]) ready.get(id)?.();
  await until(() => replies.length === 3);
  expect(replies.map((reply) => [reply.id, decodeReply(reply).result])).toEqual([
    [3n, 3],
    [1n, 1],
    [2n, 2],
  ]);
});

test('an answer that fails is the errno of its error', async () => {
  const { say, replies } = await openLink({
    answer: () => Promise.reject(new AppError('AGENT_LOST', 'gone')),
  });
  say(1n, STAT);
  await until(() => replies.length === 1);
  expect(decodeReply(replies[0] as WireFrame).result).toBe(-ERRNO.EIO);
});

test('a cancelled question is told so and still answered', async () => {
  const { say, replies } = await openLink({
    answer: (id, _question, signal) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve(replyResult(id, -ERRNO.EINTR)))),
  });
  say(4n, STAT);
  say(4n, { kind: WireKind.CANCEL });
  await until(() => replies.length === 1);
  expect(decodeReply(replies[0] as WireFrame).result).toBe(-ERRNO.EINTR);
});

test('a supervisor that does not read is not read from, and loses nothing when it reads again', async () => {
  const data = Buffer.alloc(1 << 20, 7);
  let asked = 0;
  const { say, supervisor, socket, replies, link } = await openLink({
    answer: (id) => {
      asked += 1;
      return replyRead(id, data);
    },
  });
  supervisor.pause();
  for (let id = 1n; id <= 64n; id += 1n) say(id, { kind: WireKind.READ, handle: 1, offset: 0n, length: data.length });
  await until(() => socket.isPaused());
  const askedThen = asked;
  for (let id = 65n; id <= 128n; id += 1n) say(id, { kind: WireKind.READ, handle: 1, offset: 0n, length: 1 });
  supervisor.resume();
  await until(() => replies.length === 128);
  expect(askedThen).toBeLessThan(128);
  expect(link.openQuestions).toBe(0);
});

test('writes beyond what is held make the supervisor wait', async () => {
  const answers: (() => void)[] = [];
  const { say, socket, replies } = await openLink({
    answer: (id) => new Promise((resolve) => answers.push(() => resolve(replyResult(id, 1)))),
  });
  const data = Buffer.alloc(1 << 20);
  for (let id = 1n; id <= 12n; id += 1n) say(id, { kind: WireKind.WRITE, handle: 1, offset: 0n, data });
  await until(() => socket.isPaused());
  expect(answers.length).toBeLessThan(12);
  const answerAll = setInterval(() => {
    for (const answer of answers.splice(0)) answer();
  }, 1);
  await until(() => replies.length === 12);
  clearInterval(answerAll);
});

test('a supervisor that breaks the protocol loses the link', async () => {
  const { supervisor, closed } = await openLink();
  supervisor.write(Buffer.alloc(64, 0xff));
  await until(() => closed.length === 1);
  expect(closed[0]?.code).toBe('PROTOCOL_VIOLATION');
});

test('a supervisor that is cut off inside a frame is noticed, one that closes between frames is not a fault', async () => {
  const first = await openLink();
  const [header] = encodeFrame(WireKind.STAT, 1n, Buffer.alloc(8));
  first.supervisor.end(header ?? Buffer.alloc(0));
  await until(() => first.closed.length === 1);
  expect(first.closed[0]?.code).toBe('PROTOCOL_VIOLATION');
  const second = await openLink();
  second.supervisor.end();
  await until(() => second.closed.length === 1);
  expect(second.closed).toEqual([null]);
});

test('a supervisor that ends with our answers unread, or before we give them, is no fault', async () => {
  let answer: () => void = () => undefined;
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const unread = await openLink();
  unread.supervisor.pause();
  unread.say(1n, STAT);
  await until(() => unread.socket.bytesWritten > 0);
  unread.supervisor.destroy();
  const late = await openLink({ answer: (id) => answered.then(() => replyResult(id, 0)) });
  late.say(1n, STAT);
  await until(() => late.link.openQuestions === 1);
  late.socket.pause();
  late.supervisor.destroy();
  answer();
  await until(() => unread.closed.length === 1 && late.closed.length === 1);
  expect([unread.closed, late.closed]).toEqual([[null], [null]]);
});

test('questions that are open when the link closes are given up', async () => {
  let signal: AbortSignal | null = null;
  const { say, supervisor, closed } = await openLink({
    answer: (_id, _question, given) => {
      signal = given;
      return new Promise(() => {});
    },
  });
  say(1n, STAT);
  await until(() => signal !== null);
  supervisor.destroy();
  await until(() => closed.length === 1);
  expect(signal).toMatchObject({ aborted: true });
});

test('frames of connections go their own way, and what answers them is sent', async () => {
  const seen: [number, bigint][] = [];
  const { link, say, supervisor, replies } = await openLink({
    receiveNet: (frame) => seen.push([frame.kind, frame.id]),
  });
  for (const piece of encodeNetRequest(5n, { kind: WireKind.UDP_OPEN, pid: 1, family: 4 })) supervisor.write(piece);
  say(5n, { kind: WireKind.CANCEL });
  await until(() => seen.length === 2);
  expect(seen).toEqual([
    [WireKind.UDP_OPEN, 5n],
    [WireKind.CANCEL, 5n],
  ]);
  link.send(replyResult(5n, -ERRNO.EINTR));
  await until(() => replies.length === 1);
  expect(link.openQuestions).toBe(0);
});

test('who sends much can wait until the supervisor has taken it, or is gone', async () => {
  const { link, supervisor } = await openLink();
  await link.drained();
  supervisor.pause();
  for (let count = 0; count < 4; count += 1) link.send(flowData(1n, Buffer.alloc(1 << 20)));
  let isDrained = false;
  const drained = link.drained().then(() => {
    isDrained = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect([isDrained, link.waitingBytes > 0]).toEqual([false, true]);
  supervisor.resume();
  await drained;
  supervisor.pause();
  for (let count = 0; count < 4; count += 1) link.send(flowData(1n, Buffer.alloc(1 << 20)));
  const closed = link.drained();
  link.close();
  await closed;
});
