// Requests whose bodies decide, at the relay: JSON with a member `take` is the session's.

import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { answerOf, ask, connectTo, open } from '../testing/http2-client.ts';
import { by, echo as echoStreams, Http2World } from '../testing/http2-world.ts';
import { collect, echo, sha, until } from '../testing/relay-world.ts';

let world: Http2World;
beforeEach(() => {
  world = new Http2World();
  world.bodyLimits = { bytes: 1_000, waitMs: 60_000 };
});
afterEach(async () => {
  await world.close();
});

const TAKE = '{"take": true, "note": "é"}';
const LEAVE = '{"leave": true}';
const bytesOf = (text: string): string => Buffer.from(text).toString('latin1');

const post = (body: string, fields = ''): string =>
  `POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${fields}\r\n${bytesOf(body)}`;
const chunked = (body: string, size: number): string => {
  const chunks =
    Buffer.from(body)
      .toString('latin1')
      .match(new RegExp(`.{1,${size}}`, 'gs')) ?? [];
  const parts = chunks.map((chunk) => `${chunk.length.toString(16)};x=1\r\n${chunk}\r\n`).join('');
  return `POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n${parts}0\r\nX-End: 1\r\n\r\n`;
};
const answersIn = (bytes: Buffer): string[] =>
  [...bytes.toString().matchAll(/"by":"(\w+)"/g)].map(([, one]) => one ?? '');
const sumsIn = (bytes: Buffer): string[] =>
  [...bytes.toString().matchAll(/"body":"(\w+)"/g)].map(([, one]) => one ?? '');

describe('HTTP/1', { timeout: 60_000 }, () => {
  beforeEach(async () => {
    await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  });

  test("a body within the limits decides, whatever its framing and however it is cut; others are the target's", async () => {
    const large = JSON.stringify({ take: 'x'.repeat(2_000) });
    const all: ReadonlyArray<readonly [string, string, string]> = [
      [post(TAKE), TAKE, 'local'],
      [post(LEAVE), LEAVE, 'target'],
      [chunked(TAKE, 1), TAKE, 'local'],
      [chunked(TAKE, 1_000), TAKE, 'local'],
      [chunked(LEAVE, 3), LEAVE, 'target'],
      [post('take=1'), 'take=1', 'target'],
      [post(large), large, 'target'],
      [chunked(large, 100), large, 'target'],
      [post(''), '', 'target'],
      [post(TAKE), TAKE, 'local'],
    ];
    const conversation = all.map(([request]) => request).join('');
    const cuts = Array.from({ length: conversation.length }, (_, at) => at);
    for (const bytes of [await world.ask(conversation), await world.ask(conversation, cuts)]) {
      expect(answersIn(bytes)).toEqual(all.map(([, , who]) => who));
      expect(sumsIn(bytes)).toEqual(all.map(([, body]) => sha(body)));
    }
  });

  test("a body that does not come in time is the target's, with all that had come", async () => {
    world.bodyLimits = { bytes: 1_000, waitMs: 50 };
    const whole = post(TAKE);
    const socket = world.connect();
    let seen: Buffer | undefined;
    const origin = await world.serveRaw((one) => {
      one.on('data', (chunk: Buffer) => {
        seen = Buffer.concat([seen ?? Buffer.alloc(0), chunk]);
        if (seen.length === whole.length - 1) one.write('HTTP/1.1 100 Continue\r\n\r\n');
        if (seen.length === whole.length) one.end('HTTP/1.1 204 No Content\r\n\r\n');
      });
    });
    world.originPort = origin;
    socket.destroy();
    const client = world.connect();
    client.write(whole.slice(0, -1), 'latin1');
    // The target has it, so time has decided; the rest follows.
    await until(client, (text) => text.includes('100 Continue'));
    client.write(whole.slice(-1), 'latin1');
    expect((await collect(client)).toString()).toContain('204');
    expect(seen?.toString('latin1')).toBe(whole);
  });

  test('a client that ends in the middle of a body ends at the target', async () => {
    let received = '';
    const ended = new Promise<void>((resolve) => {
      void world
        .serveRaw((one) => {
          one.on('data', (chunk: Buffer) => {
            received += chunk.toString('latin1');
          });
          one.on('end', () => {
            one.end();
            resolve();
          });
        })
        .then((port) => {
          world.originPort = port;
          const client = world.connect();
          client.end(post(TAKE).slice(0, -3), 'latin1');
        });
    });
    await ended;
    expect(received).toBe(post(TAKE).slice(0, -3));
  });

  test('a client that waits to be asked for its body is not kept waiting', async () => {
    const client = world.connect();
    const answer = until(client, (text) => text.includes('"by"'));
    client.write(post(TAKE, 'Expect: 100-continue\r\n').slice(0, -Buffer.byteLength(TAKE)), 'latin1');
    await until(client, (text) => text.includes('100 Continue'));
    client.write(bytesOf(TAKE), 'latin1');
    expect(answersIn(Buffer.from(await answer))).toEqual(['target']);
  });
});

describe('HTTP/2', { timeout: 60_000 }, () => {
  beforeEach(async () => {
    await world.open(await world.serveStreams(echoStreams('target')), await world.serveStreams(echoStreams('local')));
  });

  test('a body within the limits decides; whoever comes behind keeps the order', async () => {
    using client = connectTo(world.port);
    const bodies = [LEAVE, TAKE, TAKE, 'no json', JSON.stringify({ take: 'x'.repeat(2_000) }), LEAVE, TAKE];
    const answers = await Promise.all(bodies.map((body) => ask(client, { body: Buffer.from(body) })));
    expect(by(answers)).toEqual(['target', 'local', 'local', 'target', 'target', 'target', 'local']);
    expect(answers.map(({ headers }) => headers['sum'])).toEqual(bodies.map((body) => sha(body)));
    expect(by([await ask(client, {})])).toEqual(['target']);
  });

  test('cut into single bytes it is the same', async () => {
    using client = connectTo(await world.cutting([1]));
    const bodies = [TAKE, LEAVE, TAKE];
    const answers = await Promise.all(bodies.map((body) => ask(client, { body: Buffer.from(body) })));
    expect(by(answers)).toEqual(['local', 'target', 'local']);
  });

  test('a slow body lets those behind it go when its time is over', async () => {
    world.bodyLimits = { bytes: 1_000, waitMs: 50 };
    using client = connectTo(world.port);
    const slow = open(client, { body: Buffer.from(TAKE) });
    const answer = answerOf(slow);
    slow.write(TAKE.slice(0, 5));
    // Its answer cannot come before the slow one is decided.
    expect(by([await ask(client, { body: Buffer.from(TAKE) })])).toEqual(['local']);
    slow.end(TAKE.slice(5));
    const late = await answer;
    expect([late.headers['by'], late.headers['sum']]).toEqual(['target', sha(TAKE)]);
  });

  test('a stream that its client resets while it is held lets the next go', async () => {
    using client = connectTo(world.port);
    await ask(client, { body: Buffer.from(TAKE) });
    const reset = open(client, { body: Buffer.from(TAKE) });
    reset.on('error', () => undefined);
    reset.write(TAKE.slice(0, 5));
    const next = ask(client, { body: Buffer.from(TAKE) });
    reset.close(8);
    await once(reset, 'close');
    expect(by([await next])).toEqual(['local']);
  });
});

describe('the offer to go on in HTTP/2', { timeout: 60_000 }, () => {
  const offer = (upgrade: string, connection: string): string =>
    `GET / HTTP/1.1\r\nHost: shop\r\nConnection: ${connection}\r\nUpgrade: ${upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Last: 1\r\n\r\n`;

  test.each([
    ['h2c', 'Upgrade, HTTP2-Settings', 'GET / HTTP/1.1\r\nHost: shop\r\nX-Last: 1\r\n\r\n'],
    [
      'h2c',
      'keep-alive, Upgrade, HTTP2-Settings',
      'GET / HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive\r\nX-Last: 1\r\n\r\n',
    ],
    [
      'websocket, h2c',
      'Upgrade, HTTP2-Settings',
      'GET / HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Last: 1\r\n\r\n',
    ],
  ])('%s with "%s" is left out, so that nobody leaves the filters', async (upgrade, connection, expected) => {
    world.bodyLimits = undefined;
    let received = '';
    const origin = await world.serveRaw((one) => {
      one.on('data', (chunk: Buffer) => {
        received += chunk.toString('latin1');
        if (received.endsWith('\r\n\r\n')) one.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n');
      });
    });
    await world.open(origin, await world.serve(echo('local')));
    expect((await world.ask(offer(upgrade, connection))).toString()).toContain('204');
    expect(received).toBe(expected);
  });
});
