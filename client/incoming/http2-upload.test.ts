// What is said to a local process of HTTP/2 beside the copy, and what waits for its windows.

import { beforeEach, describe, expect, test } from 'vitest';
import { beginsHttp2, Http2Upload } from './http2-upload.ts';

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
    expect(log.slice(-4)).toEqual(['dropped 509', 'dropped 16', 'copied 1 1', 'copied 0 100']);
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
