import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ErrorCode,
  FRAME_HEAD_BYTES,
  FrameType,
  frame,
  PREFACE,
  SAFE_FRAME_BYTES,
  SETTINGS_ACK,
  settings,
} from '#runtime/http2/frame.ts';
import { ask, connectTo } from '../testing/http2-client.ts';
import { by, echo, framesOf, Http2World, SOON } from '../testing/http2-world.ts';
import { collect } from '../testing/relay-world.ts';

/** GET / of http. */
const HEAD = Buffer.from([0x82, 0x84, 0x86]);

let world: Http2World;
beforeEach(() => {
  world = new Http2World();
});
afterEach(async () => {
  await world.close();
});

describe('what is no HTTP/2', { timeout: 60_000 }, () => {
  test('garbage behind the preface is the target business, as long as nothing was taken', async () => {
    const origin = await world.serveRaw((socket) => socket.pipe(socket));
    await world.open(origin, await world.serveStreams(echo('local')));
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 200 }),
        fc.array(fc.nat(), { maxLength: 5 }),
        async (garbage, cuts) => {
          const bytes = Buffer.concat([
            PREFACE,
            frame(FrameType.headers, 4, 1, Buffer.from([0xff, 0xff, 0xff, 0xff])),
            garbage,
          ]);
          const answer = await world.ask(bytes.toString('latin1'), cuts);
          expect(answer.equals(bytes)).toBe(true);
        },
      ),
      { numRuns: 40, endOnFailure: true },
    );
  });

  test('what does not belong into a block of headers, or goes without one, is for the target to see', async () => {
    const origin = await world.serveRaw((socket) => socket.pipe(socket));
    await world.open(origin, await world.serveStreams(echo('local')));
    const open = frame(FrameType.headers, 1, 1, HEAD);
    const rest = frame(FrameType.continuation, 4, 1, Buffer.alloc(0));
    for (const between of [
      frame(FrameType.data, 0, 1, Buffer.alloc(100, 'd')),
      frame(0x42, 0, 0, Buffer.alloc(100, 'u')),
      frame(FrameType.continuation, 4, 3, Buffer.alloc(0)),
      frame(FrameType.headers, 5, 1, HEAD),
    ]) {
      for (const frames of [[open, between, rest], [rest], [between.subarray(0, 20)]]) {
        const bytes = Buffer.concat([PREFACE, SETTINGS_ACK, ...frames]);
        expect((await world.ask(bytes.toString('latin1'), [40])).equals(bytes)).toBe(true);
      }
    }
  });

  test('frames of streams that nobody began are for the target, also after a stream was taken', async () => {
    const heard: Buffer[] = [];
    const origin = await world.serveRaw((socket) => {
      socket.write(settings([]));
      socket.on('data', (bytes: Buffer) => heard.push(bytes));
    });
    await world.open(origin, await world.serveStreams(echo('local')));
    const socket = world.connect();
    socket.write(await world.recordOf({ take: true }));
    socket.write(frame(FrameType.data, 0, 7, Buffer.from('idle')));
    socket.write(frame(FrameType.rstStream, 0, 9, Buffer.alloc(4)));
    const idle = () =>
      framesOf(Buffer.concat(heard).subarray(PREFACE.length)).filter(
        ({ streamId }) => streamId === 7 || streamId === 9,
      );
    await expect.poll(() => idle().map(({ type }) => type), SOON).toEqual([FrameType.data, FrameType.rstStream]);
    socket.destroy();
  });

  test('a request on a stream that should have come before one of a session is nobody’s', async () => {
    const heard: Buffer[] = [];
    const origin = await world.serveRaw((socket) => {
      socket.write(settings([]));
      socket.on('data', (bytes: Buffer) => heard.push(bytes));
    });
    await world.open(origin, await world.serveStreams(echo('local')));
    const socket = world.connect();
    const wanted = Buffer.concat([HEAD, Buffer.from([0, 6]), Buffer.from('x-take'), Buffer.from([1, 0x61])]);
    const asked = [11, 3, 11].map((id) => frame(FrameType.headers, 5, id, wanted));
    socket.write(Buffer.concat([PREFACE, settings([]), ...asked, frame(FrameType.data, 0, 13, Buffer.alloc(1))]));
    const types = () => framesOf(Buffer.concat(heard).subarray(PREFACE.length)).map(({ type }) => type);
    await expect.poll(types, SOON).toContain(FrameType.data);
    expect(types()).not.toContain(FrameType.headers);
    socket.destroy();
  });

  test.each([
    ['a frame of the wrong length', frame(FrameType.ping, 0, 0, Buffer.alloc(7)), ErrorCode.frameSizeError],
    ['a frame that has no stream', frame(FrameType.data, 0, 0, Buffer.alloc(1)), ErrorCode.protocolError],
    ['a promise', frame(FrameType.pushPromise, 4, 7, Buffer.alloc(9)), ErrorCode.protocolError],
    [
      'a block larger than the target takes in a frame',
      frame(FrameType.headers, 5, 7, Buffer.concat([HEAD, Buffer.alloc(SAFE_FRAME_BYTES, 0x82)])),
      ErrorCode.frameSizeError,
    ],
  ])('%s after a stream was taken is told as what it is', async (_what, bytes, code) => {
    await world.openEchoes();
    const socket = world.connect();
    const answer = collect(socket);
    socket.write(await world.recordOf({ take: true }));
    await expect.poll(() => [...world.relays].length, SOON).toBe(1);
    socket.write(bytes);
    const said = await answer;
    expect(framesOf(said).at(-1)).toEqual({ type: FrameType.goaway, flags: 0, streamId: 0, length: 8 });
    expect(said.subarray(-FRAME_HEAD_BYTES - 8).readUInt32BE(FRAME_HEAD_BYTES + 4)).toBe(code);
  });

  test('garbage after a stream was taken ends the connection with GOAWAY', async () => {
    await world.openEchoes();
    const socket = world.connect();
    const answer = collect(socket);
    socket.write(await world.recordOf({ take: true }));
    await expect.poll(() => [...world.relays].length, SOON).toBe(1);
    socket.write(frame(FrameType.headers, 4, 7, Buffer.from([0xff, 0xff, 0xff, 0xff])));
    expect(framesOf(await answer).at(-1)?.type).toBe(FrameType.goaway);
  });

  test('random frames on random streams never break the relay', async () => {
    await world.openEchoes();
    const start = await world.recordOf({ take: true, body: Buffer.from('x') });
    using other = connectTo(world.port);
    const noise = fc.record({
      type: fc.nat(11),
      flags: fc.nat(255),
      id: fc.nat(12),
      payload: fc.uint8Array({ maxLength: 20 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(noise, { maxLength: 12 }), fc.boolean(), async (frames, isTaken) => {
        const parts = frames.map(({ type, flags, id, payload }) => frame(type, flags, id, Buffer.from(payload)));
        const socket = world.connect();
        socket.write(Buffer.concat([isTaken ? start : PREFACE, ...parts]));
        await ask(other, { take: true });
        socket.destroy();
      }),
      { numRuns: 150, endOnFailure: true },
    );
    using client = connectTo(world.port);
    expect(by([await ask(client, { take: true }), await ask(client, {})])).toEqual(['local', 'target']);
  });
});
