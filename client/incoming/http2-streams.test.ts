// What is said to a local process of HTTP/2 beside the copy, and what waits for its windows.

import { beforeEach, describe, expect, test } from 'vitest';
import { beginsHttp2 } from './http2-frames.ts';
import { Http2Streams } from './http2-streams.ts';
import type { Http2Upload } from './http2-upload.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const ACK = Buffer.from('000000040100000000', 'hex');

function frame(type: number, flags: number, streamId: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}
const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const data = (streamId: number, bytes: number, isEnd = false) => frame(0, isEnd ? 1 : 0, streamId, Buffer.alloc(bytes));
const headers = (streamId: number) => frame(1, 4, streamId, Buffer.from([0x82]));
const windowUpdate = (streamId: number, bytes: number) => frame(8, 0, streamId, number(bytes));
const SETTINGS = frame(4, 0, 0);
/** Its windows are 1,000 bytes for each stream. */
const SMALL = frame(4, 0, 0, Buffer.concat([Buffer.from([0, 4]), number(1_000)]));

let log: string[];
let streams: Http2Streams;
let upload: Http2Upload;
let keptBytes: number;
const dataSent = () => log.filter((entry) => entry.startsWith('copied 0 ')).length;
const nameOf = (bytes: Buffer) => (beginsHttp2(bytes) ? 'preface' : `${bytes[3]} ${bytes.length - 9}`);
const answer = (bytes: Buffer) => streams.answer(upload, bytes);

/** The next connection to the local process; what goes there is told with its name before it. */
const attach = (name = '') => {
  upload = streams.attach({
    copied: (bytes) => log.push(`${name}copied ${nameOf(bytes)}`),
    own: (bytes) => log.push(`${name}own ${bytes.equals(ACK) ? 'ack' : nameOf(bytes)}`),
  });
  return upload;
};

beforeEach(() => {
  log = [];
  keptBytes = 0;
  streams = new Http2Streams({
    dropped: (bytes) => log.push(`dropped ${bytes}`),
    lost: (bytes) => log.push(`lost ${bytes}`),
    connect: () => log.push('connect'),
    keeps: (bytes) => {
      keptBytes += bytes;
    },
  });
  attach();
});

const begin = () => streams.push(Buffer.concat([PREFACE, SETTINGS, headers(1)]));

describe('a copy of HTTP/2', () => {
  test('is told by its first line, and only by all of it', () => {
    expect(beginsHttp2(Buffer.concat([PREFACE, SETTINGS]))).toBe(true);
    expect(beginsHttp2(PREFACE.subarray(0, 20))).toBe(false);
    expect(beginsHttp2(Buffer.from('POST / HTTP/1.1\r\nHost: a\r\n\r\n'))).toBe(false);
  });

  test('goes out frame by frame, however it was cut', () => {
    const all = Buffer.concat([PREFACE, SETTINGS, headers(1), data(1, 300, true)]);
    for (const byte of all) streams.push(Buffer.of(byte));
    expect(log).toEqual(['copied preface', 'copied 4 0', 'copied 1 1', 'copied 0 300']);
    expect(streams.waitingBytes).toBe(0);
  });

  test('is preceded by nothing of ours, though the local process speaks first', () => {
    answer(SETTINGS);
    begin();
    expect(log).toEqual(['copied preface', 'copied 4 0', 'own ack', 'copied 1 1']);
  });

  test('acknowledges settings and pings, in any pieces, and no acknowledgement', () => {
    begin();
    log = [];
    const said = [SMALL, frame(6, 0, 0, Buffer.alloc(8)), ACK, frame(6, 1, 0, Buffer.alloc(8)), SETTINGS];
    for (const byte of Buffer.concat(said)) answer(Buffer.of(byte));
    expect(log).toEqual(['own ack', 'own 6 8', 'own ack']);
  });

  test('waits for the window of a stream, and of the connection', () => {
    answer(SMALL);
    begin();
    for (let nth = 0; nth < 3; nth++) streams.push(data(1, 600));
    expect([dataSent(), streams.waitingBytes]).toEqual([1, 2 * 609]);
    answer(windowUpdate(1, 200_000));
    expect(dataSent()).toBe(3);
    for (let nth = 0; nth < 10; nth++) streams.push(data(1, 10_000));
    expect(dataSent()).toBe(3 + Math.floor((65_535 - 1_800) / 10_000));
    answer(windowUpdate(0, 100_000));
    expect([dataSent(), streams.waitingBytes]).toEqual([13, 0]);
  });

  test('goes on behind a stream that the local process has given up, whose bytes are dropped', () => {
    answer(SMALL);
    begin();
    streams.push(Buffer.concat([data(1, 1_000), data(1, 500), data(1, 7, true), headers(3), data(3, 100)]));
    expect(streams.waitingBytes).toBeGreaterThan(0);
    answer(frame(3, 0, 1, number(8)));
    expect(log.slice(-3)).toEqual(['copied 1 1', 'copied 0 100', 'dropped 525']);
  });

  test('of one stream does not wait for another, but all for the window of the connection', () => {
    answer(SMALL);
    begin();
    streams.push(Buffer.concat([data(1, 1_000), data(1, 500, true), headers(3), data(3, 100, true)]));
    expect(log.slice(-2)).toEqual(['copied 1 1', 'copied 0 100']);
    answer(windowUpdate(1, 500));
    expect([log.at(-1), streams.waitingBytes]).toEqual(['copied 0 500', 0]);
    answer(windowUpdate(5, 70_000));
    streams.push(headers(5));
    answer(windowUpdate(5, 100_000));
    streams.push(Buffer.concat([data(5, 63_500), headers(7), data(7, 900)]));
    expect([log.at(-1), streams.waitingBytes]).toEqual(['copied 1 1', 909]);
    answer(windowUpdate(0, 70_000));
    expect([log.at(-1), streams.waitingBytes]).toEqual(['copied 0 900', 0]);
  });

  test('opens no more streams than the local process takes, and the next when one is over on both sides', () => {
    const most = (value: number) => frame(4, 0, 0, Buffer.concat([Buffer.from([0, 3]), number(value)]));
    const begins = () => log.filter((entry) => entry === 'copied 1 1').length;
    begin();
    for (let id = 3; id < 400; id += 2) streams.push(headers(id));
    expect(begins()).toBe(1);
    answer(most(102));
    expect(begins()).toBe(102);
    const end = (id: number) => frame(1, 5, id, Buffer.from([0x88]));
    streams.push(data(1, 0, true));
    expect(begins()).toBe(102);
    answer(end(1));
    expect(begins()).toBe(103);
    // Given up by the one side, and by the other, before it has begun and later.
    streams.push(frame(3, 0, 3, number(8)));
    streams.push(frame(3, 0, 399, number(8)));
    answer(frame(3, 0, 5, number(8)));
    expect([begins(), log.filter((entry) => entry.startsWith('dropped'))]).toEqual([105, ['dropped 10', 'dropped 13']]);
    answer(SETTINGS);
    expect(begins()).toBe(105);
    answer(most(1_000));
    expect([begins(), streams.waitingBytes]).toEqual([199, 0]);
  });

  test('without a word of the local process about streams is not held up', () => {
    begin();
    for (let id = 3; id < 400; id += 2) streams.push(headers(id));
    answer(SETTINGS);
    expect(streams.waitingBytes).toBe(0);
  });

  test('a client that cancels an upload that waits takes it back', () => {
    answer(SMALL);
    begin();
    streams.push(Buffer.concat([data(1, 1_000), data(1, 1_000), frame(3, 0, 1, number(8)), data(1, 3)]));
    expect(log.slice(-3)).toEqual(['dropped 1009', 'copied 3 4', 'dropped 12']);
    expect(streams.waitingBytes).toBe(0);
  });

  test('says goodbye behind everything else, and a block of headers in one piece', () => {
    answer(SMALL);
    begin();
    const goodbye = frame(7, 0, 0, Buffer.alloc(8));
    streams.push(Buffer.concat([data(1, 1_001), goodbye, goodbye, frame(1, 0, 3), frame(9, 0, 3)]));
    expect(streams.waitingBytes).toBe(1_010 + 34 + 18);
    streams.push(frame(9, 4, 3));
    expect(log.at(-1)).toBe('copied 1 18');
    answer(windowUpdate(1, 1));
    expect(log.slice(-2)).toEqual(['copied 0 1001', 'copied 7 25']);
    // As far as it has been asked for in full.
    expect([streams.waitingBytes, streams.isDone]).toEqual([0, true]);
    streams.push(Buffer.concat([data(1, 0, true), data(3, 0, true)]));
    expect(streams.isDone).toBe(false);
    answer(Buffer.concat([data(1, 10, true), frame(3, 0, 3, number(0))]));
    expect(streams.isDone).toBe(true);
  });

  test('gives the window for answers back in large steps', () => {
    begin();
    log = [];
    const large = Buffer.concat(Array.from({ length: 40 }, () => data(1, 16_384)));
    for (let nth = 0; nth < 4; nth++) answer(large);
    expect(log).toEqual(['own 8 4', 'own 8 4']);
  });

  test('is spared our words when the answers are no HTTP/2', () => {
    begin();
    log = [];
    answer(frame(8, 0, 0, Buffer.alloc(2)));
    answer(Buffer.concat([SETTINGS, SETTINGS]));
    expect(log).toEqual([]);
  });
});

const goaway = (lastStreamId: number) => frame(7, 0, 0, Buffer.concat([number(lastStreamId), number(0)]));
const response = (streamId: number, isEnd = true) => frame(1, isEnd ? 5 : 4, streamId, Buffer.from([0x88]));
const end = (streamId: number) => data(streamId, 0, true);

describe('a local process that says goodbye', () => {
  test('finishes what it has begun, and gets the next stream on another connection', () => {
    begin();
    answer(Buffer.concat([SETTINGS, goaway(1)]));
    const first = upload;
    streams.push(data(1, 10));
    log = [];
    streams.push(Buffer.concat([headers(3), data(3, 20, true)]));
    expect(log).toEqual(['connect']);
    attach('2: ');
    expect(log.splice(0)).toEqual([
      ...['connect', '2: own preface', '2: own 4 0'],
      ...['2: copied 1 1', '2: copied 0 20'],
    ]);
    streams.push(data(1, 30, true));
    expect(log).toEqual(['copied 0 30']);
    expect(streams.isDone).toBe(false);
    streams.answer(first, response(1));
    expect(streams.isDone).toBe(false);
    answer(response(3));
    expect([streams.isDone, keptBytes]).toEqual([true, 0]);
  });

  test('gets again what has gone and it has not looked at, in order, and nothing that it has', () => {
    answer(SETTINGS);
    begin();
    streams.push(Buffer.concat([end(1), headers(3), data(3, 20), headers(5), end(5), headers(7)]));
    expect(streams.waitingBytes).toBe(0);
    log = [];
    answer(goaway(1));
    streams.push(Buffer.concat([end(3), headers(9)]));
    attach('2: ');
    answer(SETTINGS);
    expect(log).toEqual([
      ...['connect', '2: own preface', '2: own 4 0', '2: own 1 1', '2: own 0 20', '2: copied 0 0', '2: own ack'],
      ...['2: own 1 1', '2: own 0 0', '2: own 1 1', '2: copied 1 1'],
    ]);
    expect(streams.waitingBytes).toBe(0);
  });

  test('first of all (2^31-1) and then in earnest loses nothing', () => {
    answer(SETTINGS);
    begin();
    streams.push(Buffer.concat([end(1), headers(3), end(3)]));
    answer(goaway(0x7fff_ffff));
    log = [];
    answer(goaway(1));
    attach('2: ');
    expect(log.filter((entry) => entry.startsWith('2: own 1'))).toEqual(['2: own 1 1']);
  });

  test('does not get again what it has begun to answer', () => {
    answer(SETTINGS);
    begin();
    streams.push(Buffer.concat([headers(3), data(3, 20)]));
    expect(keptBytes).toBe(10 + 10 + 29);
    answer(response(3, false));
    expect(keptBytes).toBe(10);
    log = [];
    answer(goaway(1));
    streams.push(end(3));
    expect(log).toEqual(['dropped 9']);
  });

  test('does not get again what is too large to be kept', () => {
    answer(Buffer.concat([SETTINGS, windowUpdate(0, 1_000_000)]));
    begin();
    for (let nth = 0; nth < 5; nth++) streams.push(data(1, 16_000));
    expect([keptBytes, dataSent()]).toEqual([10 + 4 * 16_009, 4]);
    answer(windowUpdate(1, 1_000_000));
    expect([keptBytes, dataSent()]).toEqual([0, 5]);
    streams.push(Buffer.concat([headers(3), end(3)]));
    log = [];
    answer(goaway(0));
    attach('2: ');
    expect(log.filter((entry) => entry.startsWith('2: own 1'))).toEqual(['2: own 1 1']);
  });

  test('three times before it has answered anything has what waits lost, and the next stream is tried again', () => {
    begin();
    for (const name of ['2: ', '3: ']) {
      answer(goaway(0));
      attach(name);
    }
    log = [];
    answer(goaway(0));
    expect(log).toEqual(['lost 0']);
    streams.push(Buffer.concat([end(1), headers(3)]));
    expect(log).toEqual(['lost 0', 'dropped 9', 'connect']);
  });

  test('by closing gets what has not begun elsewhere; what had is given up', () => {
    begin();
    streams.push(Buffer.concat([headers(3), end(3)]));
    log = [];
    expect(streams.ended(upload)).toEqual({ streams: 1, bytes: 0 });
    const asked = attach('2: ');
    expect(log).toEqual(['connect', '2: own preface', '2: own 4 0', '2: copied 1 1', '2: copied 0 0']);
    // It has been asked in full: not to be answered is its own choice.
    expect(streams.ended(asked)).toEqual({ streams: 0, bytes: 0 });
    expect([streams.waitingBytes, streams.isDone]).toEqual([0, true]);
  });

  test('to a stream that it refuses gets it once more', () => {
    answer(SETTINGS);
    begin();
    const refused = frame(3, 0, 1, number(7));
    answer(refused);
    attach('2: ');
    answer(SETTINGS);
    expect(log.filter((entry) => entry === 'connect')).toHaveLength(1);
    answer(refused);
    expect(log.filter((entry) => entry === 'connect')).toHaveLength(1);
    expect(streams.isDone).toBe(true);
  });

  test('and listens no more has what waits for it told as lost', () => {
    begin();
    answer(Buffer.concat([SETTINGS, goaway(1)]));
    streams.push(Buffer.concat([headers(3), data(3, 20)]));
    expect(streams.forsake()).toBe(39);
    expect(streams.waitingBytes).toBe(0);
    streams.push(frame(3, 0, 3, number(8)));
    expect(log.at(-1)).toBe('dropped 13');
  });
});
