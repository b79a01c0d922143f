// Requests of one connection that come long before their answers: as many go to the target as are kept count of, and the rest
// wait, whatever the client does.

import { afterEach, beforeEach, expect, test } from 'vitest';
import { collect, echo, RelayWorld } from '../testing/relay-world.ts';
import { MAX_ASKED } from './side.ts';

const SOON = { timeout: 30_000 } as const;
const REQUEST = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
const ANSWER = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
const COUNT = 10 * MAX_ASKED + 1;
const many = (one: Buffer, count: number) => Buffer.concat(Array<Buffer>(count).fill(one));

let world: RelayWorld;
beforeEach(() => {
  world = new RelayWorld();
});
afterEach(async () => {
  await world.close();
});

test.each([
  ['ends behind them', true],
  ['waits', false],
])('of a client that sends thousands at once and %s each is answered, and so many are in flight', async (_, ends) => {
  let asked = 0;
  let answered = 0;
  let most = 0;
  let hasEnded = false;
  let answer = (): void => undefined;
  const target = await world.serveRaw((socket) => {
    socket.on('data', (bytes: Buffer) => {
      asked += bytes.length;
      most = Math.max(most, asked - answered);
    });
    socket.on('end', () => {
      hasEnded = true;
      answer();
      socket.end();
    });
    answer = () => {
      const due = Math.floor((asked - answered) / REQUEST.length);
      answered += due * REQUEST.length;
      socket.write(many(ANSWER, due));
    };
  });
  await world.open(target, await world.serve(echo('local')));
  const socket = world.connect();
  const heard = collect(socket);
  let bytesHeard = 0;
  socket.on('data', (bytes: Buffer) => {
    bytesHeard += bytes.length;
  });
  socket.write(many(REQUEST, COUNT));
  if (ends) socket.end();
  await expect.poll(() => asked, SOON).toBe(MAX_ASKED * REQUEST.length);
  expect(hasEnded).toBe(false);
  const isOver = () => {
    answer();
    return bytesHeard;
  };
  await expect.poll(isOver, SOON).toBe(COUNT * ANSWER.length);
  expect([asked, most]).toEqual([COUNT * REQUEST.length, MAX_ASKED * REQUEST.length]);
  if (!ends) socket.end();
  expect((await heard).equals(many(ANSWER, COUNT))).toBe(true);
});

test('behind as many as may be in flight a wanted request waits for its turn, and no protocol of another kind is lost', async () => {
  const target = await world.serveRaw((socket) => {
    let text = '';
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      const count = text.split('\r\n\r\n').length - 1;
      text = text.split('\r\n\r\n').at(-1) as string;
      if (count > 0) socket.write(many(ANSWER, count));
      if (text.endsWith('bye')) socket.end(text);
    });
  });
  await world.open(target, await world.serve((_request, response) => response.end('local')));
  const socket = world.connect();
  const heard = collect(socket);
  const wanted = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\nX-Take: 1\r\n\r\n');
  socket.write(Buffer.concat([many(REQUEST, 2 * MAX_ASKED), wanted, many(REQUEST, MAX_ASKED), Buffer.from('\0bye')]));
  const text = (await heard).toString('latin1');
  expect(text.split(ANSWER.toString()).length - 1).toBe(3 * MAX_ASKED);
  expect(text.indexOf('\r\n\r\nlocal')).toBeGreaterThan(2 * MAX_ASKED * ANSWER.length);
  expect(text.endsWith('\0bye')).toBe(true);
});
