import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FrameType, frame, PREFACE } from '#runtime/http2/frame.ts';
import { ask, connectTo } from '../testing/http2-client.ts';
import { by, echo, framesOf, Http2World, SOON } from '../testing/http2-world.ts';
import { collect } from '../testing/relay-world.ts';

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
