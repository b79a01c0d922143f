import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { collect, echo, RelayWorld, sha, until } from '../testing/relay-world.ts';

let world: RelayWorld;
beforeEach(() => {
  world = new RelayWorld({ hasDoor: true });
});
afterEach(async () => {
  await world.close();
});

const get = (path: string, fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${fields}\r\n`;
const TAKE = 'X-Take: 1\r\n';

/** Sends, and reads until the answer's text has come. */
async function exchange(socket: Socket, request: string, answer: string): Promise<string> {
  const text = until(socket, (seen) => seen.includes(answer));
  socket.write(request, 'latin1');
  return await text;
}

test('plain requests are not shown to the filters from the first on, and are counted', async () => {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  const socket = world.connect();
  for (let nth = 0; nth < 20; nth++) {
    expect(await exchange(socket, get(`/${nth}`), `GET /${nth}"`)).toContain('"by":"target"');
  }
  const body = 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx-take: 1';
  expect(await exchange(socket, body, sha('x-take: 1'))).toContain('"by":"target"');
  expect(world.decisions).toBe(0);
  expect(world.pool.screens.takeCount(world.screen)).toBe(21);
});

test('whatever comes between plain requests, each is answered by whom it should be', async () => {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  const socket = world.connect();
  const chunked = 'POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n';
  for (let round = 0; round < 8; round++) {
    const at = `/${round}`;
    expect(await exchange(socket, get(at), `GET ${at}"`)).toContain('"by":"target"');
    expect(await exchange(socket, get(at), `GET ${at}"`)).toContain('"by":"target"');
    if (round % 4 === 0) expect(await exchange(socket, get('/t', TAKE), 'GET /t"')).toContain('"by":"local"');
    if (round % 4 === 1) expect(await exchange(socket, chunked, sha('abc'))).toContain('"by":"target"');
    if (round % 4 === 2)
      expect(await exchange(socket, get('/p') + get('/q', TAKE), 'GET /q"')).toMatch(/target.*local/s);
    if (round % 4 === 3) {
      const half = get('/half').slice(0, 20);
      socket.write(half);
      await new Promise((resolve) => setImmediate(resolve));
      expect(await exchange(socket, get('/half').slice(20), 'GET /half"')).toContain('"by":"target"');
    }
  }
  expect(world.pool.screens.takeCount(world.screen)).toBeGreaterThan(10);
});

test('a filter that comes later sees the next request of connections that were joined before', async () => {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  const socket = world.connect();
  await exchange(socket, get('/1'), 'GET /1"');
  await exchange(socket, get('/2'), 'GET /2"');
  expect(world.decisions).toBe(0);
  world.pool.screens.set(world.screen, ['x-other']);
  await exchange(socket, get('/3', 'X-Other: 1\r\n'), 'GET /3"');
  world.pool.screens.set(world.screen, null);
  await exchange(socket, get('/4'), 'GET /4"');
  expect(world.decisions).toBe(2);
});

test('where every head has to be seen, one that nobody wanted is seen once, until the filters change', async () => {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  world.pool.screens.set(world.screen, null);
  const [one, other] = [world.connect(), world.connect()];
  for (let nth = 0; nth < 6; nth++) {
    expect(await exchange(nth % 2 === 0 ? one : other, get('/same'), 'GET /same"')).toContain('"by":"target"');
  }
  expect(world.decisions).toBe(1);
  expect(await exchange(one, get('/same', TAKE), 'GET /same"')).toContain('"by":"local"');
  expect(await exchange(one, get('/same', TAKE), 'GET /same"')).toContain('"by":"local"');
  expect(world.decisions).toBe(3);
  world.pool.screens.set(world.screen, null);
  expect(await exchange(other, get('/same'), 'GET /same"')).toContain('"by":"target"');
  expect(world.decisions).toBe(4);
});

test('a client that asks and reads nothing gets every byte, later, and nothing twice', {
  timeout: 60_000,
}, async () => {
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n${'0123456789'.repeat(10_000)}`;
  let asked: () => void = () => undefined;
  const origin = await world.serveRaw((socket) => {
    socket.on('data', () => {
      socket.write(answer);
      asked();
    });
  });
  await world.open(origin, origin);
  const socket = world.connect();
  await exchange(socket, get('/'), answer);
  socket.pause();
  for (let nth = 0; nth < 120; nth++) {
    const isAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    socket.write(get('/'));
    await isAsked;
  }
  const all = collect(socket);
  socket.resume().end();
  expect(sha(await all)).toBe(sha(answer.repeat(120)));
});

test('a target that goes, at rest or while it is asked, ends the connection, and a client that ends gets its answer', async () => {
  const sockets: Socket[] = [];
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  const origin = await world.serveRaw((socket) => {
    sockets.push(socket);
    socket.on('data', (bytes) => {
      if (!bytes.includes('/wait')) socket.write(answer);
    });
  });
  await world.open(origin, origin);
  for (const last of ['', get('/wait')]) {
    const socket = world.connect();
    for (let nth = 0; nth < 3; nth++) await exchange(socket, get('/'), 'ok');
    const target = sockets.at(-1) as Socket;
    if (last !== '') {
      const isThere = once(target, 'data');
      socket.write(last);
      await isThere;
    }
    const rest = collect(socket);
    target.end();
    expect((await rest).toString()).toBe('');
    socket.destroy();
  }
  const socket = world.connect();
  for (let nth = 0; nth < 3; nth++) await exchange(socket, get('/'), 'ok');
  const rest = collect(socket);
  socket.end(get('/'));
  expect((await rest).toString()).toBe(answer);
});

test('many connections at once, each with plain requests and uploads: every body arrives as it was sent', {
  timeout: 60_000,
}, async () => {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  const talk = async (who: number): Promise<void> => {
    const socket = world.connect();
    for (let nth = 0; nth < 6; nth++) {
      const plain = `/${who}/${nth}`;
      expect(await exchange(socket, get(plain), `GET ${plain}"`)).toContain('"by":"target"');
      const body = `${who}.${nth} `.repeat(20_000);
      const upload = `PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      expect(await exchange(socket, upload, sha(body))).toContain('"by":"target"');
    }
  };
  await Promise.all(Array.from({ length: 24 }, (_, who) => talk(who)));
});

test('a body passes piece by piece, to a target that reads at once and to one that does not at first, and arrives as it was sent', {
  timeout: 60_000,
}, async () => {
  let paused: Socket | undefined;
  const origin = await world.serveRaw((socket) => {
    let seen = Buffer.alloc(0);
    socket.on('data', (bytes) => {
      seen = Buffer.concat([seen, bytes]);
      const end = seen.indexOf('\r\n\r\n') + 4;
      const length = Number(/content-length: (\d+)/i.exec(seen.subarray(0, end).toString('latin1'))?.[1] ?? 0);
      if (seen.includes('/slowly') && paused === undefined) paused = socket.pause();
      if (seen.length < end + length) return;
      const text = sha(seen.subarray(end).toString('latin1'));
      seen = Buffer.alloc(0);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
    });
  });
  await world.open(origin, origin);
  const socket = world.connect();
  await exchange(socket, get('/'), sha(''));
  for (const size of [1, 5_000, 300_000, 3_000_000]) {
    const body = `${size} `.repeat(size).slice(0, size);
    const head = `PUT /${size === 3_000_000 ? 'slowly' : ''} HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`;
    const answer = exchange(socket, head, sha(body));
    for (let at = 0; at < size; at += 100_000) {
      socket.write(body.slice(at, at + 100_000), 'latin1');
      await new Promise((resolve) => setImmediate(resolve));
    }
    paused?.resume();
    expect(await answer).toContain(sha(body));
  }
  expect(await exchange(socket, get('/'), sha(''))).toContain('200 OK');
  expect(world.decisions).toBeLessThan(4);
});

test('a body whose target takes no more while much of it has come already goes on when it does', {
  timeout: 60_000,
}, async () => {
  let received = 0;
  let target: Socket | undefined;
  const origin = await world.serveRaw((socket) => {
    target = socket;
    socket.on('data', (bytes) => {
      received += bytes.length;
    });
  });
  await world.open(origin, origin);
  const put = (length: number): string => `PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`;
  const piece = Buffer.alloc(600 * 1024, 'x');
  for (let round = 0; round < 8; round++) {
    const socket = world.connect();
    let sent = 0;
    received = 0;
    const send = (bytes: Buffer | string): Promise<void> => {
      sent += bytes.length;
      return new Promise((resolve) => socket.write(bytes, () => resolve()));
    };
    // Windows grow meanwhile.
    await send(put(16 * piece.length));
    for (let nth = 0; nth < 16; nth++) await send(piece);
    await expect.poll(() => received, { timeout: 20_000 }).toBe(sent);
    const answered = until(socket, (text) => text.endsWith('ok'));
    target?.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    await answered;
    await send(put(900_000_000));
    await expect.poll(() => received, { timeout: 20_000 }).toBe(sent);
    target?.pause();
    await send(piece.subarray(0, round * 40_000 + 1));
    while (world.pool.waitingBytes === 0) {
      await send(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    target?.resume();
    await expect.poll(() => received, { timeout: 20_000 }).toBe(sent);
    socket.destroy();
  }
});

test('an answer before all of the body, an end within it, and another request right behind it', async () => {
  const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  const all: Buffer[] = [];
  const ended = new Map<string, () => void>();
  const origin = await world.serveRaw((socket) => {
    socket.on('data', (bytes) => {
      all.push(bytes);
      if (bytes.includes('HTTP/1.1')) socket.write(answer);
    });
    socket.on('end', () => ended.get('target')?.());
  });
  await world.open(origin, origin);
  const put = 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n';
  const socket = world.connect();
  for (const text of [get('/'), get('/'), `${put}1234`, `56789${get('/2')}`, `${put}123456789`, `${put}1`]) {
    await exchange(socket, text, 'ok');
  }
  const isEnded = new Promise<void>((resolve) => ended.set('target', resolve));
  socket.end('2345');
  await isEnded;
  const sent = [get('/'), get('/'), put, '123456789', get('/2'), put, '123456789', put, '12345'];
  expect(Buffer.concat(all).toString('latin1')).toBe(sent.join(''));
});

/** Each on a connection of its own, that says so. */
const last = (path: string, fields = ''): string => get(path, `Connection: close\r\n${fields}`);

test('connections for one request each, plain or wanted, in one piece or in many, are answered by whom they should and leave nothing', async () => {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
  const talk = async (nth: number): Promise<void> => {
    const [isTaken, isCut, endsFirst] = [nth % 3 === 0, nth % 4 === 0, nth % 5 === 0];
    const request = last(`/${nth}`, isTaken ? TAKE : '');
    const socket = world.connect();
    const all = collect(socket);
    if (isCut) {
      socket.write(request.slice(0, 9));
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.write(isCut ? request.slice(9) : request);
    if (endsFirst) socket.end();
    expect((await all).toString()).toMatch(
      new RegExp(`"by":"${isTaken ? 'local' : 'target'}","request":"GET /${nth}"`),
    );
    socket.end();
  };
  await Promise.all(Array.from({ length: 60 }, (_, nth) => talk(nth)));
  while (world.openSockets > 0) await new Promise((resolve) => setImmediate(resolve));
});

test("a request behind the last one is nobody's, and goes to the target as it is", async () => {
  const heard: Buffer[] = [];
  const isHeard = new Map<string, () => void>();
  const origin = await world.serveRaw((socket) => {
    socket.on('data', (bytes) => {
      heard.push(bytes);
      const text = Buffer.concat(heard).toString();
      if (text === last('/1')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      if (text.endsWith(get('/2', TAKE))) isHeard.get('all')?.();
    });
  });
  await world.open(origin, 1);
  const isAllHeard = new Promise<void>((resolve) => isHeard.set('all', resolve));
  const socket = world.connect();
  await exchange(socket, last('/1'), 'ok');
  socket.write(get('/2', TAKE));
  await isAllHeard;
  expect(Buffer.concat(heard).toString()).toBe(last('/1') + get('/2', TAKE));
  expect(world.decisions).toBe(0);
});

test('a last answer that its client does not read arrives whole, and the connection ends behind it', async () => {
  const answer = `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n${'0123456789'.repeat(20_000)}`;
  for (const ends of [true, false]) {
    const origin = await world.serveRaw((socket) => {
      socket.on('data', () => (ends ? socket.end(answer) : socket.write(answer)));
    });
    await world.open(origin, 1);
    const socket = world.connect();
    socket.pause().write(last('/'));
    await new Promise((resolve) => setImmediate(resolve));
    const all = collect(socket);
    socket.resume();
    expect(sha(await all)).toBe(sha(answer));
    socket.end();
    await world.close();
    world = new RelayWorld({ hasDoor: true });
  }
});
