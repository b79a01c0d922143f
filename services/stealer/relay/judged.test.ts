// Requests of joined connections that the filters are asked of: only whose nobody is passes without its connection being told of.

import type { Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ask, connectTo } from '../testing/http2-client.ts';
import { by, Http2World } from '../testing/http2-world.ts';
import { echo, RelayWorld, sha, until } from '../testing/relay-world.ts';

let world: RelayWorld;
beforeEach(() => {
  world = new RelayWorld({ hasDoor: true });
});
afterEach(async () => {
  await world.close();
});

const TAKE = 'X-Take: 1\r\n';
const get = (path: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${fields}\r\n`;
const put = (path: string, body: string, fields = ''): string =>
  `PUT ${path} HTTP/1.1\r\nHost: shop\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;

/** Sends, piece by piece, and reads until the answer to the path has come. @returns who gave it */
async function exchange(socket: Socket, path: string, ...pieces: string[]): Promise<'target' | 'local' | undefined> {
  const text = until(socket, (seen) => new RegExp(` ${path}","body":"[0-9a-f]{64}"`).test(seen));
  for (const [nth, piece] of pieces.entries()) {
    if (nth > 0) await new Promise((resolve) => setImmediate(resolve));
    socket.write(piece, 'latin1');
  }
  return /"by":"(target|local)","request":"[A-Z]+ [^"]*","body":"[0-9a-f]+"\}$/.exec(await text)?.[1] as
    | 'target'
    | 'local'
    | undefined;
}

async function open(): Promise<Socket> {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  world.judge();
  return world.connect();
}

test('heads that are new each time pass when nobody wants them, and are counted; who wants one gets it, and the next as well', async () => {
  const socket = await open();
  for (let nth = 0; nth < 20; nth++) expect(await exchange(socket, `/${nth}`, get(`/${nth}`))).toBe('target');
  expect([world.judged, world.decisions, world.pool.screens.takeCount(world.screen)]).toEqual([20, 0, 20]);
  // The same again is known.
  expect(await exchange(socket, '/3', get('/3'))).toBe('target');
  expect([world.judged, world.decisions]).toEqual([20, 0]);
  expect(await exchange(socket, '/w', get('/w', TAKE))).toBe('local');
  expect([world.judged, world.decisions]).toEqual([21, 1]);
  expect(await exchange(socket, '/v', get('/v', TAKE))).toBe('local');
  expect(await exchange(socket, '/x', get('/x'))).toBe('target');
  expect(await exchange(socket, '/y', get('/y'))).toBe('target');
  expect([world.judged, world.decisions]).toEqual([22, 3]);
});

test('what was said of one request says nothing of the one behind it, nor of a body or a head in pieces', async () => {
  const socket = await open();
  expect(await exchange(socket, '/1', get('/1'))).toBe('target');
  expect(await exchange(socket, '/w', get('/2') + get('/w', TAKE))).toBe('local');
  expect(await exchange(socket, '/3', get('/3'))).toBe('target');
  // The body is a request that is wanted, for who takes it for one; and comes in pieces.
  const body = get('/not', TAKE).repeat(50);
  const whole = put('/4', body);
  expect(await exchange(socket, '/4', whole.slice(0, -900), whole.slice(-900, -400), whole.slice(-400))).toBe('target');
  expect(await exchange(socket, '/5', ...get('/5', TAKE))).toBe('local');
  expect(await exchange(socket, '/6', ...get('/6'))).toBe('target');
  expect(await exchange(socket, '/7', whole.replace('/4', '/7'))).toBe('target');
  expect(await exchange(socket, '/8', put('/8', body, TAKE))).toBe('local');
  const ambiguous = 'GET /9 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n';
  const before = world.judged;
  socket.write(ambiguous);
  const answer = await until(socket, (text) => text.includes('\r\n\r\n'));
  expect(answer).not.toContain('"by":"local"');
  expect(world.judged).toBe(before);
});

test('filters that come and go between two requests of joined connections are asked of the next one', async () => {
  const socket = await open();
  for (const round of [0, 1, 2]) {
    world.isTaking = false;
    world.judge();
    expect(await exchange(socket, `/a${round}`, get(`/a${round}`, TAKE))).toBe('target');
    expect(await exchange(socket, `/b${round}`, get(`/b${round}`, TAKE))).toBe('target');
    world.isTaking = true;
    world.judge();
    // Byte for byte what nobody wanted before.
    expect(await exchange(socket, `/b${round}`, get(`/b${round}`, TAKE))).toBe('local');
  }
  world.pool.screens.set(world.screen, null);
  const before = world.judged;
  expect(await exchange(socket, '/c', get('/c'))).toBe('target');
  expect(await exchange(socket, '/d', get('/d'))).toBe('target');
  expect(world.judged).toBe(before);
});

test('a filter of bodies sees those with one, and a filter that fails lets nothing pass', async () => {
  world.bodyLimits = { bytes: 1_000, waitMs: 5_000 };
  const socket = await open();
  const json = (text: string) => put('/json', text, 'Content-Type: application/json\r\n');
  for (let nth = 0; nth < 3; nth++) {
    expect(await exchange(socket, `/${nth}`, get(`/${nth}`))).toBe('target');
    expect(await exchange(socket, '/json', json(`{"n":${nth}}`))).toBe('target');
    expect(await exchange(socket, '/json', json(`{"take":${nth}}`))).toBe('local');
  }
  world.bodyLimits = undefined;
  world.judge(true);
  const other = world.connect();
  expect(await exchange(other, '/t', get('/t', TAKE))).toBe('local');
  expect(await exchange(other, '/u', get('/u'))).toBe('target');
  expect(await exchange(other, '/v', get('/v', TAKE))).toBe('local');
});

test('many connections at once, wanted and not: each request is answered by whom it should, with its body', async () => {
  await open();
  const talk = async (who: number): Promise<void> => {
    const socket = world.connect();
    for (let nth = 0; nth < 12; nth++) {
      const [path, isTaken] = [`/${who}/${nth}`, (who * 7 + nth * 5) % 6 === 0];
      const body = `${path} `.repeat((who * nth) % 300);
      const text = until(socket, (seen) => seen.includes(` ${path}","body":"${sha(body)}"`));
      socket.write(put(path, body, isTaken ? TAKE : ''));
      expect(await text).toContain(`"by":"${isTaken ? 'local' : 'target'}"`);
    }
  };
  await Promise.all(Array.from({ length: 24 }, (_, who) => talk(who)));
  expect(world.decisions).toBeLessThan(world.judged);
});

test('of HTTP/2 the same: each stream is judged, once for each block that comes again, and what is wanted is not passed', async () => {
  const streams = new Http2World();
  try {
    await streams.openEchoes();
    streams.judge();
    using client = connectTo(streams.port);
    const one = async (path: string, take = false) => by([await ask(client, { path, take })])[0];
    for (let nth = 0; nth < 30; nth++) expect(await one(`/${nth}`)).toBe('target');
    expect(streams.pool.screens.takeCount(streams.screen)).toBeGreaterThan(20);
    const before = streams.judged;
    for (let nth = 0; nth < 30; nth++) expect(await one('/same')).toBe('target');
    expect(streams.judged - before).toBeLessThan(10);
    expect(streams.pool.screens.takeCount(streams.screen)).toBeGreaterThan(20);
    const many = await Promise.all(Array.from({ length: 40 }, (_, nth) => one(`/m${nth}`, nth === 39)));
    expect(many).toEqual([...Array.from({ length: 39 }, () => 'target'), 'local']);
  } finally {
    await streams.close();
  }
});
