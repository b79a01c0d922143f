// A client that ends behind its last request, as all do that give up: who has the request hears of it, as on a connection of its own.

import { afterEach, beforeEach, expect, test } from 'vitest';
import { echo, RelayWorld } from '../testing/relay-world.ts';

let world: RelayWorld;
beforeEach(() => {
  world = new RelayWorld();
});
afterEach(async () => {
  await world.close();
});

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${fields}\r\n`;
const SOON = { timeout: 20_000 };
const TAKE = 'X-Take: 1\r\n';

test.each([
  ['a session', TAKE],
  ['the target', ''],
])('%s hears the end of who asked last and does not wait', async (_, fields) => {
  const heard: string[] = [];
  const patient = (name: string) =>
    world.serveRaw((socket) => {
      socket
        .on('data', () => heard.push(`${name} asked`))
        .on('end', () => {
          heard.push(`${name} end`);
          socket.end();
        });
    });
  await world.open(await patient('target'), await patient('local'));
  const socket = world.connect();
  socket.resume().write(get('/slow', fields));
  const name = fields === '' ? 'target' : 'local';
  await expect.poll(() => heard).toEqual([`${name} asked`]);
  socket.end();
  await expect.poll(() => heard.filter((one) => one.startsWith(name)), SOON).toEqual([`${name} asked`, `${name} end`]);
});

test('an answer that comes soon is heard by who has ended behind a request, of a server that gives it up for that', async () => {
  const local = await world.serve((_, response) => setTimeout(() => response.end('{"by":"local"}'), 100));
  await world.open(await world.serve(echo('target')), local);
  expect((await world.ask(get('/', TAKE))).toString()).toContain('"by":"local"');
});

test('who has heard the end behind a request and does not answer it is not asked again', async () => {
  let connections = 0;
  const local = await world.serveRaw((socket) => {
    connections += 1;
    let requests = 0;
    socket
      .on('data', () => {
        requests += 1;
        if (requests === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"by":"local"}');
      })
      .on('end', () => socket.end());
  });
  await world.open(await world.serve(echo('target')), local);
  world.localEnd = 'perhaps';
  const said = (await world.ask(get('/1', TAKE) + get('/2', TAKE))).toString();
  expect(said).toMatch(/^HTTP\/1.1 200 OK\r\n[^{]*{"by":"local"}HTTP\/1.1 502 /);
  expect(connections).toBe(1);
});
