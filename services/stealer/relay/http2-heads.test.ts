// Heads of HTTP/2 that are small on the wire and large behind the header table: what waits of them stays bounded.

import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorCode, Flag, FrameType, frame, PREFACE, Setting, settings } from '#runtime/http2/frame.ts';
import { type FramePiece, FrameReader } from '#runtime/http2/frame-reader.ts';
import { Http2World, SOON } from '../testing/http2-world.ts';
import { MAX_HEAD_BYTES } from './http2-streams.ts';

let world: Http2World;
beforeEach(() => {
  world = new Http2World();
});
afterEach(async () => {
  await world.close();
});

const VALUE_BYTES = 3_900;
const REPEATS = 60;
/** POST /, and a field that the header table keeps. */
function opening(name: string): Buffer {
  const rest = VALUE_BYTES - 127;
  const text = Buffer.concat([
    Buffer.from([name.length, ...Buffer.from(name), 127, (rest & 127) | 128, rest >> 7]),
    Buffer.alloc(VALUE_BYTES, 'a'),
  ]);
  return Buffer.concat([Buffer.from([0x83, 0x86, 0x84, 0x40]), text]);
}
/** The same with that field many times over, a byte for each. */
const BOMB = Buffer.concat([Buffer.from([0x83, 0x86, 0x84]), Buffer.alloc(REPEATS, 0xbe)]);
const headers = (id: number, block: Buffer, flags: number = Flag.endStream) =>
  frame(FrameType.headers, Flag.endHeaders | flags, id, block);

const bombs = (count: number) => Buffer.concat(Array.from({ length: count }, (_, nth) => headers(3 + 2 * nth, BOMB)));

/** What comes back, frame by frame, and the codes of RST_STREAM and GOAWAY among it. */
function listen(socket: Socket): { codes: number[]; frames: FramePiece[] } {
  const reader = new FrameReader(() => true);
  const heard = { codes: [] as number[], frames: [] as FramePiece[] };
  socket.on('data', (bytes: Buffer) => {
    reader.push(bytes);
    for (let piece = reader.next(); piece !== undefined && piece !== 'doubtful'; piece = reader.next()) {
      heard.frames.push(piece);
      if (piece.head.type === FrameType.rstStream) heard.codes.push(piece.bytes.readUInt32BE(9));
      if (piece.head.type === FrameType.goaway) heard.codes.push(piece.bytes.readUInt32BE(13));
    }
  });
  return heard;
}

describe('heads that the header table makes large', { timeout: 60_000 }, () => {
  test('of those that wait for the local process so many are held, and the others are refused', async () => {
    const target = await world.serveStreams((stream) => stream.respond({}, { endStream: true }));
    const local = await world.serveRaw((socket) =>
      socket.resume().write(settings([[Setting.maxConcurrentStreams, 1]])),
    );
    await world.open(target, local);
    const socket = world.connect();
    const heard = listen(socket);
    const count = 500;
    socket.write(Buffer.concat([PREFACE, settings([]), headers(1, opening('x-take')), bombs(count)]));
    const fits = Math.ceil(MAX_HEAD_BYTES / (VALUE_BYTES * REPEATS));
    await expect.poll(() => heard.codes.length, SOON).toBeGreaterThanOrEqual(count - fits);
    expect(heard.codes.length).toBeLessThan(count);
    expect(new Set(heard.codes)).toEqual(new Set([ErrorCode.refusedStream]));
  });

  test('blocks of headers in the middle of a taken request are none, and do not pile up behind its body', async () => {
    const target = await world.serveStreams((stream) => stream.respond({}, { endStream: true }));
    await world.open(target, await world.serveStreams((stream) => stream.pause().on('error', () => undefined)));
    const socket = world.connect();
    const heard = listen(socket);
    const body = Array.from({ length: 5 }, () => frame(FrameType.data, 0, 1, Buffer.alloc(13_000)));
    socket.write(Buffer.concat([PREFACE, settings([]), headers(1, opening('x-take'), 0), ...body]));
    socket.write(Buffer.concat(Array.from({ length: 100 }, () => headers(1, Buffer.alloc(REPEATS, 0xbe), 0))));
    await expect.poll(() => heard.codes, SOON).toEqual([ErrorCode.protocolError]);
  });

  test('are read a few in each turn of the event loop, so that the other connections have theirs', async () => {
    const target = await world.serveStreams((stream) => stream.respond({}, { endStream: true }));
    await world.open(target, await world.serveStreams((stream) => stream.respond({}, { endStream: true })));
    const decided: number[] = [0];
    const isTaking = () => {
      decided.push((decided.pop() as number) + 1);
      return true;
    };
    Object.defineProperty(world, 'isTaking', { get: isTaking });
    const count = 200;
    const socket = world.connect();
    socket.resume();
    socket.write(Buffer.concat([PREFACE, settings([]), headers(1, opening('x-take')), bombs(count)]));
    const sum = () => decided.reduce((all, one) => all + one, 0);
    for (const end = Date.now() + SOON.timeout; sum() <= count && Date.now() < end; decided.push(0)) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(sum()).toBe(count + 1);
    // A mebibyte of them, one beyond it, and once more: who reads may have done so in this turn, too.
    expect(Math.max(...decided)).toBeLessThanOrEqual(2 * (2 ** 20 / (VALUE_BYTES * REPEATS) + 1));
  });

  test('a connection whose few bytes would be tens of megabytes to the target is ended', async () => {
    const target = await world.serveRaw((socket) => socket.pause().write(settings([])));
    await world.open(target, await world.serveStreams((stream) => stream.respond({}, { endStream: true })));
    const socket = world.connect();
    const heard = listen(socket);
    // Behind a stream that a session took, heads for the target are written without the table.
    socket.write(Buffer.concat([PREFACE, settings([]), headers(1, Buffer.concat([BOMB.subarray(0, 3), TAKE]))]));
    await expect.poll(() => heard.frames.some(({ head }) => head.streamId === 1), SOON).toBe(true);
    socket.write(Buffer.concat([headers(3, opening('x-note')), bombs(400).subarray(9 + BOMB.length)]));
    await expect.poll(() => heard.codes, SOON).toContain(ErrorCode.enhanceYourCalm);
  });
});

/** `x-take: a`, which the table does not keep. */
const TAKE = Buffer.from([0, 6, ...Buffer.from('x-take'), 1, 0x61]);
