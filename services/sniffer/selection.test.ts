// What a filter leaves of a connection, whatever the pieces that it comes in and whatever of it is missing.

import { expect, test } from 'vitest';
import type { Frame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { EndReason, IncomingMode, LossReason, type Subscribe } from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import type { FlowAddresses } from './events.ts';
import { NOT_WANTED } from './events.ts';
import { Outlet } from './outlet.ts';
import { select } from './selection.ts';
import { Subscription } from './subscription.ts';

const WISH: Subscribe = {
  mode: IncomingMode.INCOMING_MODE_MIRROR,
  transport: Transport.TRANSPORT_TCP,
  port: 80,
  filter: { conditions: [{ condition: { $case: 'path', value: '^/wanted' } }], isAny: false },
  connectionBytes: 0,
  limitBytes: 0,
  maxConnections: 0,
  samplePerMillion: 0,
  maxBytesPerSecond: 0n,
  withAnswers: false,
  withOlder: false,
  onConflict: 0,
  flushConnections: false,
  isAgain: false,
  standing: undefined,
  tls: [],
  http: undefined,
};
const FLOW: FlowAddresses = {
  flow: 1,
  local: { address: undefined },
  peer: { address: undefined },
  localPort: 80,
  protocol: 6,
  isFromMiddle: false,
  beginsAnywhere: false,
  sample: 0,
  interface: 2,
};

function begin(wish = WISH) {
  const sent: Frame[] = [];
  const stream = { send: (frame: Frame) => sent.push(frame), drained: async () => {}, bufferedBytes: 0 };
  let lastId = 2;
  const subscription = new Subscription(1, wish, {
    outlet: new Outlet(stream),
    takeId: () => {
      lastId += 4;
      return lastId;
    },
    openConnections: () => null,
    onCopy: () => {},
    onCopyEnded: () => {},
    onOver: () => {},
  });
  const selection = select(subscription, FLOW, 1n);
  const kinds = () => sent.map(({ kind }) => kind);
  const text = () =>
    sent
      .filter(({ kind }) => kind === FrameKind.FRAME_KIND_DATA)
      .map(({ data }) => Buffer.from(data).toString('latin1'))
      .join('');
  return { subscription, selection, kinds, text, push: (bytes: string) => selection.bytes(Buffer.from(bytes), false) };
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
const post = (path: string, body: string) => `POST ${path} HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

test('wanted requests come whole and in order, however they are cut; others leave nothing', () => {
  const all = [get('/a'), post('/wanted/1', 'GET /b'), post('/c', get('/wanted')), get('/wanted/2'), get('/d')].join(
    '',
  );
  for (let size = 1; size <= all.length; size += 7) {
    const { push, text, subscription } = begin();
    for (let at = 0; at < all.length; at += size) push(all.slice(at, at + size));
    expect(text()).toBe(post('/wanted/1', 'GET /b') + get('/wanted/2'));
    expect([subscription.counts.requests, subscription.counts.notMatched]).toEqual([2, 3]);
  }
});

test('a connection without a wanted request never arrives', () => {
  const { push, selection, kinds } = begin();
  push(get('/a'));
  selection.halfClose(false);
  selection.close(EndReason.END_REASON_CLOSED, 2n);
  expect(kinds()).toEqual([]);
});

test('what the kernel has left out is no loss, and what follows is read', () => {
  const { push, selection, text, subscription } = begin();
  push(get('/wanted/1'));
  selection.gap(40, NOT_WANTED, false);
  selection.gap(40, NOT_WANTED, false);
  push(get('/wanted/2'));
  expect(text()).toBe(get('/wanted/1') + get('/wanted/2'));
  expect(subscription.counts.hasRecent).toBe(false);
});

test('behind a request that the kernel has left out come its body, and the next requests, in one piece or many', () => {
  const embedded = 'GET /wanted/of/a/body HTTP/1.1\r\nx: y';
  for (const body of ['{"query": 1}', `a batch:\r\n${embedded}\r\n`]) {
    const all = `${body}${get('/no')}${get('/wanted/1')}${post('/wanted/2', body)}`;
    for (const cuts of [[], [4], [body.length], [4, body.length], [body.length, body.length + get('/no').length]]) {
      const { push, selection, text } = begin();
      selection.gap(60, NOT_WANTED, false);
      for (const [nth, cut] of [0, ...cuts].entries()) push(all.slice(cut, [...cuts, all.length][nth]));
      expect(text(), JSON.stringify({ body, cuts })).toBe(get('/wanted/1') + post('/wanted/2', body));
    }
  }
});

test('an offer of HTTP/2 is not delivered, and what follows is read as what it is', () => {
  const offer = (path: string) =>
    `GET ${path} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nHost: a\r\n\r\n`;
  const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0';
  // :path /wanted, of stream 3; stream 1 is the request that has made the offer.
  const stream = '\0\0\x0b\x01\x05\0\0\0\x03\x82\x86\x04\x07/wanted';
  for (const first of ['/a', '/wanted/0']) {
    const wanted = first === '/a' ? '' : get(first);
    for (const size of [1, 13, 1_000]) {
      const declined = begin();
      const said = offer(first) + get('/b') + get('/wanted/1');
      for (let at = 0; at < said.length; at += size) declined.push(said.slice(at, at + size));
      expect(declined.text()).toBe(wanted + get('/wanted/1'));
      const taken = begin();
      const both = offer(first) + preface + stream;
      for (let at = 0; at < both.length; at += size) {
        taken.selection.bytes(Buffer.from(both.slice(at, at + size), 'latin1'), false);
      }
      const copied = Buffer.from(taken.text().slice(wanted.length), 'latin1');
      expect(framesOf(copied.subarray(24))).toEqual([4, 8, 1]);
      expect(taken.subscription.counts.requests).toBe(wanted === '' ? 1 : 2);
    }
  }
  const { selection, text } = begin();
  selection.gap(offer('/a').length, NOT_WANTED, false);
  selection.bytes(Buffer.from(preface + stream, 'latin1'), false);
  expect(framesOf(Buffer.from(text(), 'latin1').subarray(24))).toEqual([4, 8, 1]);
});

test('a WebSocket belongs to the request that asked for it; where it is refused the next requests are read', () => {
  const ask = (path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n`;
  for (const first of [0x81, 0x41, 0x42, 0x88]) {
    const message = Buffer.concat([Buffer.from([first, 0x85, 1, 2, 3, 4]), Buffer.from('GET /')]);
    for (const path of ['/a', '/wanted']) {
      const { selection, push, text, subscription } = begin();
      push(ask(path));
      for (const byte of Buffer.concat([message, message])) selection.bytes(Buffer.from([byte]), false);
      const whole = ask(path) + message.toString('latin1').repeat(2);
      expect(text()).toBe(path === '/a' ? '' : whole);
      expect(subscription.counts).toMatchObject({ requests: path === '/a' ? 0 : 1, notMatched: path === '/a' ? 1 : 0 });
    }
  }
  const { push, text } = begin();
  push(ask('/a') + get('/wanted/1') + ask('/wanted/2') + get('/b') + get('/wanted/3'));
  expect(text()).toBe(get('/wanted/1') + ask('/wanted/2') + get('/wanted/3'));
});

test('a gap in a wanted WebSocket ends its copy, before its first frame too', () => {
  const { push, selection, kinds } = begin();
  push('GET /wanted HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  selection.gap(10, LossReason.LOSS_REASON_RING_FULL, false);
  expect(kinds().slice(-2)).toEqual([FrameKind.FRAME_KIND_GAP, FrameKind.FRAME_KIND_ENDED]);
});

test('a loss inside of a wanted request ends its connection, and the next one comes on another', () => {
  const { push, selection, kinds } = begin();
  push('POST /wanted HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf');
  selection.gap(1_000, LossReason.LOSS_REASON_RING_FULL, false);
  push('the middle of something');
  push(get('/wanted/2'));
  expect(kinds()).toEqual([
    FrameKind.FRAME_KIND_ARRIVED,
    FrameKind.FRAME_KIND_DATA,
    FrameKind.FRAME_KIND_DATA,
    FrameKind.FRAME_KIND_GAP,
    FrameKind.FRAME_KIND_ENDED,
    FrameKind.FRAME_KIND_ARRIVED,
    FrameKind.FRAME_KIND_DATA,
  ]);
});

test('a request whose body decides comes whole when the body has come, and what is missing decides against it', () => {
  const jsonBody = { query: '$.take', matches: 'yes', maxBytes: 100, waitMs: 0 };
  const wish = {
    ...WISH,
    filter: { conditions: [{ condition: { $case: 'jsonBody' as const, value: jsonBody } }], isAny: false },
  };
  const post = (body: string) => `POST / HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const [yes, no, large] = [post('{"take": "yes"}'), post('{"take": "no"}'), post(`{"take": "yes${' '.repeat(200)}"}`)];
  const { selection, subscription, text } = begin(wish);
  for (const char of yes + no + large + yes) selection.bytes(Buffer.from(char), false);
  expect(text()).toBe(yes + yes);
  selection.bytes(Buffer.from(yes.slice(0, -2)), false);
  selection.gap(2, 3, false);
  selection.bytes(Buffer.from(yes), false);
  expect(text()).toBe(yes + yes + yes);
  selection.bytes(Buffer.from(yes.slice(0, -2)), false);
  selection.close(EndReason.END_REASON_CLOSED, 2n);
  expect(text()).toBe(yes + yes + yes);
  expect(subscription.counts).toMatchObject({ requests: 3, notMatched: 4 });
  expect(subscription.heldBodyBytes).toBe(0);
});

test('what is no HTTP is not wanted', () => {
  const { push, kinds, subscription } = begin();
  push('\x16\x03\x01 hello');
  push(get('/wanted'));
  expect(kinds()).toEqual([]);
  expect(subscription.counts.notMatched).toBe(1);
});

test('without a filter everything comes, and answers where they are wanted', () => {
  const { push, selection, kinds } = begin({ ...WISH, filter: undefined, withAnswers: true });
  push('anything');
  selection.bytes(Buffer.from('answer'), true);
  selection.halfClose(false);
  selection.halfClose(true);
  selection.close(EndReason.END_REASON_CLOSED, 2n);
  expect(kinds()).toEqual([
    FrameKind.FRAME_KIND_ARRIVED,
    FrameKind.FRAME_KIND_DATA,
    FrameKind.FRAME_KIND_ANSWER,
    FrameKind.FRAME_KIND_HALF_CLOSE,
    FrameKind.FRAME_KIND_ANSWER,
    FrameKind.FRAME_KIND_ENDED,
  ]);
});

test('of HTTP/2 without a filter come all requests, and nothing that was meant for the answers of the target', () => {
  const frame = (type: number, flags: number, streamId: number, payload: Buffer) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(streamId, 5);
    return Buffer.concat([head, payload]);
  };
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const ofTheHop = [
    frame(4, 1, 0, Buffer.alloc(0)),
    frame(8, 0, 0, Buffer.from([0, 0, 0, 9])),
    frame(6, 1, 0, Buffer.alloc(8)),
  ];
  const request = frame(1, 5, 3, Buffer.from([0x82, 0x86, 0x84]));
  const all = Buffer.concat([preface, frame(4, 0, 0, Buffer.alloc(0)), ...ofTheHop, request, ...ofTheHop]);
  for (const withAnswers of [false, true]) {
    for (const size of [1, 10, 1_000]) {
      const { selection, text, kinds, subscription } = begin({ ...WISH, filter: undefined, withAnswers });
      expect(kinds()).toEqual([FrameKind.FRAME_KIND_ARRIVED]);
      for (let at = 0; at < all.length; at += size) selection.bytes(all.subarray(at, at + size), false);
      selection.close(EndReason.END_REASON_CLOSED, 1n);
      const types = framesOf(Buffer.from(text(), 'latin1').subarray(preface.length));
      expect(types).toEqual(withAnswers ? [4, 4, 8, 6, 1, 4, 8, 6] : [4, 8, 1]);
      expect([subscription.counts.requests, kinds().at(-1)]).toEqual([withAnswers ? 0 : 1, FrameKind.FRAME_KIND_ENDED]);
    }
  }
});

test('what begins as HTTP/2 does and goes on as something else comes as it came', () => {
  for (const ending of ['gap', 'close', 'more'] as const) {
    const { selection, text, push } = begin({ ...WISH, filter: undefined });
    for (const byte of 'PRI * HTTP/2.0\r\n') push(byte);
    expect(text()).toBe('');
    if (ending === 'more') push('and more');
    if (ending === 'gap') selection.gap(3, LossReason.LOSS_REASON_NOT_SEEN, false);
    selection.close(EndReason.END_REASON_CLOSED, 1n);
    expect(text()).toBe(`PRI * HTTP/2.0\r\n${ending === 'more' ? 'and more' : ''}`);
  }
});

test('a connection of HTTP/2 without a request ends as it did', () => {
  const { selection, kinds, push } = begin({ ...WISH, filter: undefined });
  push('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  selection.close(EndReason.END_REASON_CLOSED, 1n);
  expect(kinds()).toEqual([FrameKind.FRAME_KIND_ARRIVED, FrameKind.FRAME_KIND_ENDED]);
});

function framesOf(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) types.push(bytes[at + 3] as number);
  return types;
}
