import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { ClientHttp2Session, ServerHttp2Stream } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Answer, answerOf, ask, connectTo, open } from '../testing/http2-client.ts';
import { by, cutInto, echo, Http2World, SOON } from '../testing/http2-world.ts';
import { sha } from '../testing/relay-world.ts';

let world: Http2World;
beforeEach(() => {
  world = new Http2World();
});
afterEach(async () => {
  await world.close();
});

async function repeat(client: ClientHttp2Session, times: number, request = {}): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (let nth = 0; nth < times; nth++) answers.push(await ask(client, request));
  return answers;
}

test('requests that come again pass without us and are counted; others on the same connection do not', async () => {
  await world.openEchoes();
  using client = connectTo(world.port);
  expect(new Set(by(await repeat(client, 20)))).toEqual(new Set(['target']));
  const passed = world.pool.screens.takeCount(world.screen);
  expect(passed).toBeGreaterThan(10);
  // The first of them was decided, by what it has.
  expect(passed + world.known).toBeLessThan(20);
  const body = Buffer.from('an upload');
  expect((await ask(client, { body })).headers['sum']).toBe(sha(body));
  expect((await ask(client, { path: '/other' })).headers['path']).toBe('/other');
  expect(new Set(by(await repeat(client, 10)))).toEqual(new Set(['target']));
  expect(world.pool.screens.takeCount(world.screen)).toBeGreaterThan(3);
  expect(by(await repeat(client, 2, { take: true }))).toEqual(['local', 'local']);
  expect(new Set(by(await repeat(client, 8)))).toEqual(new Set(['target']));
  // The target has not seen what was taken: nothing is as it came any more.
  expect(world.pool.screens.takeCount(world.screen)).toBe(0);
});

test.each([[4_096], [0], [100], [65_536]])(
  'requests that are new each time pass without us, and a session reads the next by the same table of %i bytes',
  async (bytes) => {
    await world.openEchoes({ headerTableSize: bytes });
    using client = connectTo(world.port);
    const asked = Array.from({ length: 60 }, (_, nth) => ({
      path: `/order/${nth}`,
      // By node's client kept in the table, and indexed when it comes again.
      headers: { 'x-note': `note ${nth % 2 === 0 ? nth : nth - 7}`, [`x-of-${nth % 5}`]: 'v'.repeat(nth) },
      ...(nth % 4 === 0 ? { body: Buffer.from(`body ${nth}`) } : {}),
    }));
    const told = ({ headers }: Answer) => [headers['by'], headers['path'], headers['note'], headers['sum']];
    const expected = (by: string, { path, headers, body }: (typeof asked)[number]) => [
      by,
      path,
      headers['x-note'],
      sha(body ?? Buffer.alloc(0)),
    ];
    for (const one of asked) expect(told(await ask(client, one))).toEqual(expected('target', one));
    expect(world.pool.screens.takeCount(world.screen)).toBeGreaterThan(40);
    const many = await Promise.all(asked.map((one) => ask(client, one)));
    expect(many.map(told)).toEqual(asked.map((one) => expected('target', one)));
    for (const one of asked.slice(-5))
      expect(told(await ask(client, { ...one, take: true }))).toEqual(expected('local', one));
  },
);

test('what does not pass comes between what does, and each is what it was', { timeout: 60_000 }, async () => {
  await world.openEchoes();
  using client = connectTo(world.port);
  const large = 'l'.repeat(20_000);
  const kinds: ReadonlyArray<(nth: number) => Promise<Answer>> = [
    (nth) => ask(client, { path: `/${nth}`, headers: { 'x-note': `${nth}` } }),
    (nth) => ask(client, { path: `/${nth}`, headers: { 'x-note': `${nth >> 2}` } }),
    (nth) => ask(client, { path: `/${nth}`, headers: { 'x-note': `${nth}`, 'x-seen': 'x-take' } }),
    // In CONTINUATION, and with trailers, which change the table as well.
    (nth) => ask(client, { path: `/${nth}`, headers: { 'x-note': `${nth}`, 'x-large': large } }),
    async (nth) => {
      const headers = { ':path': `/${nth}`, ':method': 'POST', 'x-note': `${nth}` };
      const stream = client.request(headers, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': `${nth}` }));
      stream.end('body');
      return await answerOf(stream);
    },
  ];
  for (const atOnce of [1, 3, 20]) {
    for (let first = 0; first < 120; first += atOnce) {
      const numbers = Array.from({ length: atOnce }, (_, at) => first + at);
      // Long runs of what passes with one of another kind.
      const kindOf = (nth: number) => kinds[nth % 11 === 0 ? 2 + ((nth / 11) % 3) : nth % 2] as (typeof kinds)[number];
      const answers = await Promise.all(numbers.map((nth) => kindOf(nth)(nth)));
      expect(answers.map(({ headers }) => headers['path'])).toEqual(numbers.map((nth) => `/${nth}`));
      const notes = numbers.map((nth) => `${nth % 2 === 1 && nth % 11 !== 0 ? nth >> 2 : nth}`);
      expect(answers.map(({ headers }) => headers['note'])).toEqual(notes);
    }
  }
  expect(world.pool.screens.takeCount(world.screen)).toBeGreaterThan(60);
  const last = await ask(client, { take: true, path: '/last', headers: { 'x-note': '119' } });
  expect([last.headers['by'], last.headers['path'], last.headers['note']]).toEqual(['local', '/last', '119']);
});

test('who steals from then on gets the next request of a connection that was joined', async () => {
  await world.openEchoes();
  world.isTaking = false;
  using client = connectTo(world.port);
  await repeat(client, 12, { take: true });
  expect(world.pool.screens.takeCount(world.screen)).toBeGreaterThan(3);
  world.isTaking = true;
  world.standing++;
  world.pool.screens.set(world.screen, ['x-take']);
  expect(by(await repeat(client, 3, { take: true }))).toEqual(['local', 'local', 'local']);
});

test('who steals from then on gets it also when something else of the connection comes first', async () => {
  await world.openEchoes();
  world.isTaking = false;
  using client = connectTo(world.port);
  await repeat(client, 12, { take: true });
  world.isTaking = true;
  world.standing++;
  world.pool.screens.set(world.screen, ['x-take']);
  await new Promise((resolve) => client.ping(resolve));
  expect(by(await repeat(client, 3, { take: true }))).toEqual(['local', 'local', 'local']);
});

test('windows are counted along: what a session answers later fits them', { timeout: 60_000 }, async () => {
  const answer = randomBytes(300_000);
  const large = (name: string) => (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': 200, by: name });
    stream.end(answer);
  };
  await world.open(await world.serveStreams(large('target')), await world.serveStreams(large('local')));
  using client = connectTo(world.port);
  const answers = [...(await repeat(client, 12)), ...(await repeat(client, 4, { take: true }))];
  expect(world.pool.screens.takeCount(world.screen)).toBeGreaterThan(3);
  expect(by(answers)).toEqual([...Array(12).fill('target'), ...Array(4).fill('local')]);
  for (const { body } of answers) expect(sha(body)).toBe(sha(answer));
});

test.each([[[1]], [[9, 1]], [[13, 30, 2, 700]], [[100_000]]])(
  'in segments of %j both ways nothing is lost or twice',
  {
    timeout: 60_000,
  },
  async (cuts) => {
    await world.openEchoes();
    const origin = world.originPort;
    world.originPort = await world.serveRaw((socket) => cutInto(connect(origin, '127.0.0.1'), socket, cuts));
    const port = await world.cutting(cuts);
    using client = connectTo(port);
    const bodies = Array.from({ length: 24 }, (_, nth) => randomBytes(nth % 3 === 0 ? 0 : 1 + nth * 10));
    const answers: Answer[] = [];
    for (const body of bodies) answers.push(await ask(client, { method: 'POST', body }));
    expect(answers.map(({ body }) => sha(body))).toEqual(bodies.map((body) => sha(body)));
    const many = await Promise.all(bodies.map((body) => ask(client, { method: 'POST', body })));
    expect(many.map(({ headers }) => headers['sum'])).toEqual(bodies.map((body) => sha(body)));
    expect(by([await ask(client, { take: true })])).toEqual(['local']);
  },
);

test('a client that reads nothing stalls the target, and has every byte later', { timeout: 60_000 }, async () => {
  const piece = randomBytes(64 * 1024);
  let asked = 0;
  const origin = (stream: ServerHttp2Stream): void => {
    stream.respond({ ':status': 200, by: 'target' });
    if (++asked > 8) for (let nth = 0; nth < 255; nth++) stream.write(piece);
    stream.end(piece);
  };
  await world.open(await world.serveStreams(origin), await world.serveStreams(echo('local')));
  let relay: Socket | undefined;
  const port = await world.serveRaw((socket) => {
    relay = connect(world.port, '127.0.0.1');
    cutInto(socket, relay, [100_000]);
  });
  using client = connectTo(port, { initialWindowSize: 2 ** 30 });
  await once(client, 'remoteSettings');
  client.setLocalWindowSize(2 ** 30);
  await repeat(client, 8);
  expect(world.pool.screens.takeCount(world.screen)).toBeGreaterThan(1);
  relay?.pause();
  const answer = ask(client, {});
  await expect.poll(() => world.pool.waitingBytes, SOON).toBeGreaterThan(0);
  relay?.resume();
  expect((await answer).body.equals(Buffer.concat(Array(256).fill(piece)))).toBe(true);
  expect(world.pool.waitingBytes).toBe(0);
});

test('what was passed on and is not answered keeps the connection, and then it retires', async () => {
  await world.openEchoes();
  using client = connectTo(world.port);
  const closed = once(client, 'close');
  await repeat(client, 8, { method: 'POST', body: Buffer.from('x') });
  const [relay] = world.relays;
  world.pool.screens.takeCount(world.screen);
  const stream = open(client, { body: Buffer.from('x') });
  await expect.poll(() => world.pool.screens.takeCount(world.screen), SOON).toBe(1);
  expect(relay?.retire()).toBe(true);
  expect(client.closed).toBe(false);
  stream.end('rest');
  expect((await answerOf(stream)).body.toString()).toBe('rest');
  relay?.retire();
  await closed;
});
