// What is said to a local process of HTTP/2 beside the copy, and what waits for its windows.

import { beforeEach, describe, expect, test } from 'vitest';
import { beginsHttp2 } from './http2-frames.ts';
import { Http2Upload } from './http2-upload.ts';

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
let upload: Http2Upload;
const dataSent = () => log.filter((entry) => entry.startsWith('copied 0 ')).length;

beforeEach(() => {
  log = [];
  const nameOf = (bytes: Buffer) => (beginsHttp2(bytes) ? 'preface' : `${bytes[3]} ${bytes.length - 9}`);
  upload = new Http2Upload({
    copied: (bytes) => log.push(`copied ${nameOf(bytes)}`),
    dropped: (bytes) => log.push(`dropped ${bytes}`),
    own: (bytes) => log.push(`own ${bytes.equals(ACK) ? 'ack' : nameOf(bytes)}`),
    over: () => log.push('over'),
  });
});

const begin = () => upload.push(Buffer.concat([PREFACE, SETTINGS, headers(1)]));

describe('a copy of HTTP/2', () => {
  test('is told by its first line, and only by all of it', () => {
    expect(beginsHttp2(Buffer.concat([PREFACE, SETTINGS]))).toBe(true);
    expect(beginsHttp2(PREFACE.subarray(0, 20))).toBe(false);
    expect(beginsHttp2(Buffer.from('POST / HTTP/1.1\r\nHost: a\r\n\r\n'))).toBe(false);
  });

  test('goes out frame by frame, however it was cut', () => {
    const all = Buffer.concat([PREFACE, SETTINGS, headers(1), data(1, 300, true)]);
    for (const byte of all) upload.push(Buffer.of(byte));
    expect(log).toEqual(['copied preface', 'copied 4 0', 'copied 1 1', 'copied 0 300']);
    expect(upload.waitingBytes).toBe(0);
  });

  test('is preceded by nothing of ours, though the local process speaks first', () => {
    upload.answer(SETTINGS);
    begin();
    expect(log).toEqual(['copied preface', 'copied 4 0', 'own ack', 'copied 1 1']);
  });

  test('acknowledges settings and pings, in any pieces, and no acknowledgement', () => {
    begin();
    log = [];
    const said = [SMALL, frame(6, 0, 0, Buffer.alloc(8)), ACK, frame(6, 1, 0, Buffer.alloc(8)), SETTINGS];
    for (const byte of Buffer.concat(said)) upload.answer(Buffer.of(byte));
    expect(log).toEqual(['own ack', 'own 6 8', 'own ack']);
  });

  test('waits for the window of a stream, and of the connection', () => {
    upload.answer(SMALL);
    begin();
    for (let nth = 0; nth < 3; nth++) upload.push(data(1, 600));
    expect([dataSent(), upload.waitingBytes]).toEqual([1, 2 * 609]);
    upload.answer(windowUpdate(1, 200_000));
    expect(dataSent()).toBe(3);
    for (let nth = 0; nth < 10; nth++) upload.push(data(1, 10_000));
    expect(dataSent()).toBe(3 + Math.floor((65_535 - 1_800) / 10_000));
    upload.answer(windowUpdate(0, 100_000));
    expect([dataSent(), upload.waitingBytes]).toEqual([13, 0]);
  });

  test('goes on behind a stream that the local process has given up, whose bytes are dropped', () => {
    upload.answer(SMALL);
    begin();
    upload.push(Buffer.concat([data(1, 1_000), data(1, 500), data(1, 7, true), headers(3), data(3, 100)]));
    expect(upload.waitingBytes).toBeGreaterThan(0);
    upload.answer(frame(3, 0, 1, number(8)));
    expect(log.slice(-4)).toEqual(['copied 1 1', 'copied 0 100', 'dropped 509', 'dropped 16']);
  });

  test('of one stream does not wait for another, but all for the window of the connection', () => {
    upload.answer(SMALL);
    begin();
    upload.push(Buffer.concat([data(1, 1_000), data(1, 500, true), headers(3), data(3, 100, true)]));
    expect(log.slice(-2)).toEqual(['copied 1 1', 'copied 0 100']);
    upload.answer(windowUpdate(1, 500));
    expect([log.at(-1), upload.waitingBytes]).toEqual(['copied 0 500', 0]);
    upload.answer(windowUpdate(5, 70_000));
    upload.push(headers(5));
    upload.answer(windowUpdate(5, 100_000));
    upload.push(Buffer.concat([data(5, 63_500), headers(7), data(7, 900)]));
    expect([log.at(-1), upload.waitingBytes]).toEqual(['copied 1 1', 909]);
    upload.answer(windowUpdate(0, 70_000));
    expect([log.at(-1), upload.waitingBytes]).toEqual(['copied 0 900', 0]);
  });

  test('opens no more streams than the local process takes, and the next when one is over on both sides', () => {
    const most = (value: number) => frame(4, 0, 0, Buffer.concat([Buffer.from([0, 3]), number(value)]));
    const begins = () => log.filter((entry) => entry === 'copied 1 1').length;
    begin();
    for (let id = 3; id < 400; id += 2) upload.push(headers(id));
    expect(begins()).toBe(1);
    upload.answer(most(102));
    expect(begins()).toBe(102);
    const end = (id: number) => frame(1, 5, id, Buffer.from([0x88]));
    upload.push(data(1, 0, true));
    expect(begins()).toBe(102);
    upload.answer(end(1));
    expect(begins()).toBe(103);
    // Given up by the one side, and by the other, before it has begun and later.
    upload.push(frame(3, 0, 3, number(8)));
    upload.push(frame(3, 0, 399, number(8)));
    upload.answer(frame(3, 0, 5, number(8)));
    expect([begins(), log.filter((entry) => entry.startsWith('dropped'))]).toEqual([105, ['dropped 10', 'dropped 13']]);
    upload.answer(SETTINGS);
    expect(begins()).toBe(105);
    upload.answer(most(1_000));
    expect([begins(), upload.waitingBytes]).toEqual([199, 0]);
  });

  test('without a word of the local process about streams is not held up', () => {
    begin();
    for (let id = 3; id < 400; id += 2) upload.push(headers(id));
    upload.answer(SETTINGS);
    expect(upload.waitingBytes).toBe(0);
  });

  test('a client that cancels an upload that waits takes it back', () => {
    upload.answer(SMALL);
    begin();
    upload.push(Buffer.concat([data(1, 1_000), data(1, 1_000), frame(3, 0, 1, number(8)), data(1, 3)]));
    expect(log.slice(-3)).toEqual(['dropped 1009', 'copied 3 4', 'dropped 12']);
    expect(upload.waitingBytes).toBe(0);
  });

  test('says goodbye behind everything else, and a block of headers in one piece', () => {
    upload.answer(SMALL);
    begin();
    const goodbye = frame(7, 0, 0, Buffer.alloc(8));
    upload.push(Buffer.concat([data(1, 1_001), goodbye, goodbye, frame(1, 0, 3), frame(9, 0, 3)]));
    expect(upload.waitingBytes).toBe(1_010 + 34 + 18);
    upload.push(frame(9, 4, 3));
    expect(log.at(-1)).toBe('copied 1 18');
    upload.answer(windowUpdate(1, 1));
    expect(log.slice(-2)).toEqual(['copied 0 1001', 'copied 7 25']);
    expect([upload.waitingBytes, upload.isDone]).toEqual([0, false]);
    upload.push(Buffer.concat([data(1, 0, true), data(3, 0, true)]));
    upload.answer(Buffer.concat([data(1, 10, true), frame(3, 0, 3, number(0))]));
    expect(upload.isDone).toBe(true);
  });

  test('is over with the next stream when the local process has said goodbye', () => {
    begin();
    upload.answer(Buffer.concat([SETTINGS, frame(7, 0, 0, Buffer.alloc(8))]));
    upload.push(data(1, 10, true));
    expect(log.at(-1)).toBe('copied 0 10');
    upload.push(headers(3));
    expect(log.at(-1)).toBe('over');
  });

  test('gives the window for answers back in large steps', () => {
    begin();
    log = [];
    const answer = Buffer.concat(Array.from({ length: 40 }, () => data(1, 16_384)));
    for (let nth = 0; nth < 4; nth++) upload.answer(answer);
    expect(log).toEqual(['own 8 4', 'own 8 4']);
  });

  test('is spared our words when the answers are no HTTP/2', () => {
    begin();
    log = [];
    upload.answer(frame(8, 0, 0, Buffer.alloc(2)));
    upload.answer(Buffer.concat([SETTINGS, SETTINGS]));
    expect(log).toEqual([]);
  });
});
