import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
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

describe('who answers', { timeout: 60_000 }, () => {
  test('streams of one connection part, before and after the first that is taken', async () => {
    await world.openEchoes();
    using client = connectTo(world.port);
    const answers: Answer[] = [];
    for (const take of [false, true, false, true, true, false]) {
      answers.push(await ask(client, { take, headers: { 'x-note': `some ${take}`, cookie: 'a=b' } }));
    }
    expect(by(answers)).toEqual(['target', 'local', 'target', 'local', 'local', 'target']);
    expect(answers.map(({ trailers }) => trailers?.['x-end'])).toEqual(by(answers));
    expect(answers.map(({ headers }) => headers['note'])).toEqual(
      ['false', 'true', 'false', 'true', 'true', 'false'].map((one) => `some ${one}`),
    );
  });

  test('1,000 streams at once, taken and not, each with its own body', async () => {
    await world.openEchoes({ maxConcurrentStreams: 2_000 });
    using client = connectTo(world.port);
    await once(client, 'remoteSettings');
    const asked = Array.from({ length: 1_000 }, (_, index) => ({
      take: index % 2 === 0,
      body: Buffer.from(`body ${index}`),
    }));
    const answers = await Promise.all(asked.map((one) => ask(client, one)));
    expect(by(answers)).toEqual(asked.map(({ take }) => (take ? 'local' : 'target')));
    expect(answers.map(({ body }) => body.toString())).toEqual(asked.map(({ body }) => body.toString()));
  });

  test('a local process that takes 5 streams at once gets them one after the other', async () => {
    await world.open(
      await world.serveStreams(echo('target')),
      await world.serveStreams(echo('local'), { maxConcurrentStreams: 5 }),
    );
    using client = connectTo(world.port);
    // The first answer: its SETTINGS have come.
    await ask(client, { take: true });
    const answers = await Promise.all(
      Array.from({ length: 40 }, () => ask(client, { take: true, body: Buffer.from('x') })),
    );
    expect(new Set(by(answers))).toEqual(new Set(['local']));
  });

  test('1 MiB both ways at once, taken and not, with windows of any size', async () => {
    for (const initialWindowSize of [5_000, 65_535, 1 << 20]) {
      await world.openEchoes({ initialWindowSize });
      using client = connectTo(world.port, { initialWindowSize: 70_000 - Math.round(initialWindowSize / 20) });
      const body = randomBytes(1 << 20);
      const answers = await Promise.all([true, false, true, false].map((take) => ask(client, { take, body })));
      expect(by(answers)).toEqual(['local', 'target', 'local', 'target']);
      for (const answer of answers) expect(sha(answer.body)).toBe(sha(body));
      await world.close();
      world = new Http2World();
    }
  });

  test('heads of 20 KiB that need CONTINUATION arrive whole on either side', async () => {
    await world.openEchoes({ maxHeaderListSize: 1 << 20 });
    using client = connectTo(world.port);
    const headers = { 'x-big': 'b'.repeat(20_000), 'x-note': 'n' };
    const answers = [];
    for (const take of [false, true, false]) answers.push(await ask(client, { take, headers }));
    expect(by(answers)).toEqual(['target', 'local', 'target']);
    expect(answers.map(({ headers }) => headers['note'])).toEqual(['n', 'n', 'n']);
  });

  test('however the bytes of a conversation are cut, they mean the same', async () => {
    await world.openEchoes();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ take: fc.boolean(), note: fc.stringMatching(/^[!-~]{0,40}$/), length: fc.nat(40_000) }), {
          minLength: 1,
          maxLength: 6,
        }),
        fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 5 }),
        async (requests, cuts) => {
          const port = await world.cutting(cuts);
          using client = connectTo(port);
          const answers = await Promise.all(
            requests.map(({ take, note, length }) =>
              ask(client, { take, body: Buffer.alloc(length, note || 'x'), headers: { 'x-note': note } }),
            ),
          );
          expect(by(answers)).toEqual(requests.map(({ take }) => (take ? 'local' : 'target')));
          requests.forEach(({ note, length }, index) => {
            expect(answers[index]?.headers['note']).toBe(note);
            expect(answers[index]?.headers['sum']).toBe(sha(Buffer.alloc(length, note || 'x')));
          });
        },
      ),
      { numRuns: 25, endOnFailure: true },
    );
  });

  test('the preface in segments of one byte is HTTP/2 all the same', async () => {
    await world.openEchoes();
    const port = await world.cutting([1]);
    using client = connectTo(port);
    expect(by([await ask(client, { take: true }), await ask(client, {})])).toEqual(['local', 'target']);
  });

  test('what nobody wants reaches the target byte for byte', async () => {
    const got: Buffer[] = [];
    const origin = await world.serveRaw((socket) => socket.on('data', (chunk: Buffer) => got.push(chunk)));
    await world.open(origin, await world.serveStreams(echo('local')));
    const sent = await world.recordOf({ headers: { 'x-secret': 'a', 'x-note': 'b' }, body: Buffer.from('body') });
    world.connect().write(sent);
    await expect.poll(() => Buffer.concat(got).length, SOON).toBe(sent.length);
    expect(Buffer.concat(got).equals(sent)).toBe(true);
  });
});

describe('ends', { timeout: 60_000 }, () => {
  test('a session that ends: 502, UNAVAILABLE for gRPC, a reset where the answer had begun; then the target answers', async () => {
    const waiting: ServerHttp2Stream[] = [];
    const local = await world.serveStreams((stream, headers) => {
      stream.on('error', () => undefined);
      if (headers[':path'] === '/begun') stream.respond({ ':status': 200, by: 'local' });
      if (headers[':path'] === '/begun') stream.write('half');
      waiting.push(stream);
    });
    await world.open(await world.serveStreams(echo('target')), local);
    using client = connectTo(world.port);
    const begun = open(client, { take: true, path: '/begun' });
    const started = once(begun, 'data');
    const pending = [
      ask(client, { take: true }),
      ask(client, { take: true, headers: { 'content-type': 'application/grpc' } }),
      answerOf(begun),
      ask(client, { take: true, method: 'HEAD' }),
    ];
    await started;
    await expect.poll(() => waiting.length, SOON).toBe(4);
    world.isTaking = false;
    for (const relay of world.relays) relay.revoke(world.taker);
    const [plain, grpc, cut, head] = await Promise.all(pending);
    expect(plain?.headers[':status']).toBe(502);
    expect(plain?.body.toString()).toBe('mirrord: the session that took this request has ended\n');
    expect(grpc?.headers['grpc-status']).toBe('14');
    expect(cut?.code).toBe(2);
    expect([head?.headers[':status'], head?.body.length]).toEqual([502, 0]);
    expect(by([await ask(client, { take: true })])).toEqual(['target']);
  });

  test('an upload in flight when the session ends: 502 at once, and the connection goes on', async () => {
    await world.open(
      await world.serveStreams(echo('target')),
      await world.serveStreams((stream) => stream.on('error', () => undefined)),
    );
    using client = connectTo(world.port);
    const upload = open(client, { take: true, body: Buffer.alloc(0) });
    upload.write(randomBytes(500_000));
    const answer = answerOf(upload);
    await expect.poll(() => world.relays.size, SOON).toBe(1);
    await ask(client, {});
    for (const relay of world.relays) relay.revoke(world.taker);
    expect((await answer).headers[':status']).toBe(502);
    const body = randomBytes(300_000);
    expect((await ask(client, { body })).headers['sum']).toBe(sha(body));
  });

  test('nobody listens locally, or speaks HTTP/1 only: 502, and the target serves the rest', async () => {
    const http1 = await world.serveRaw((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    for (const port of [1, http1]) {
      await world.open(await world.serveStreams(echo('target')), port);
      using client = connectTo(world.port);
      expect((await ask(client, { take: true })).headers[':status']).toBe(502);
      expect(by([await ask(client, {})])).toEqual(['target']);
    }
  });

  test('nobody listens on the target: sessions answer all the same', async () => {
    await world.open(1, await world.serveStreams(echo('local')));
    using client = connectTo(world.port);
    expect(by([await ask(client, { take: true }), await ask(client, { take: true })])).toEqual(['local', 'local']);
  });

  test('resets reach the other side, either way', async () => {
    let wasReset = 0;
    const local = await world.serveStreams((stream, headers) => {
      stream.on('error', () => undefined);
      if (headers[':path'] === '/refuse') stream.close(constants.NGHTTP2_REFUSED_STREAM);
      else stream.once('close', () => (wasReset = stream.rstCode ?? 0));
    });
    await world.open(await world.serveStreams(echo('target')), local);
    using client = connectTo(world.port);
    expect((await ask(client, { take: true, path: '/refuse' })).code).toBe(constants.NGHTTP2_REFUSED_STREAM);
    const stream = open(client, { take: true });
    stream.on('error', () => undefined);
    await ask(client, {});
    stream.close(constants.NGHTTP2_CANCEL);
    await expect.poll(() => wasReset, SOON).toBe(constants.NGHTTP2_CANCEL);
    expect(by([await ask(client, {})])).toEqual(['target']);
  });

  test('a target that says GOAWAY does not take back what a session has', async () => {
    const sessions: ServerHttp2Session[] = [];
    let held: ServerHttp2Stream | undefined;
    const origin = await world.serveStreams((stream, headers) => {
      if (stream.session) sessions.push(stream.session as ServerHttp2Session);
      echo('target')(stream, headers);
    });
    await world.open(
      origin,
      await world.serveStreams((stream) => {
        held = stream;
      }),
    );
    using client = connectTo(world.port);
    await ask(client, {});
    const pending = ask(client, { take: true });
    await expect.poll(() => held, SOON).toBeDefined();
    const told = once(client, 'goaway');
    sessions[0]?.close();
    await told;
    held?.respond({ ':status': 200, by: 'local' });
    held?.end('late');
    expect((await pending).body.toString()).toBe('late');
    await expect.poll(() => client.closed, SOON).toBe(true);
  });

  test('a local process that says GOAWAY gets a new connection for the next stream', async () => {
    let connections = 0;
    const local = await world.serveStreams((stream, headers) => {
      echo('local')(stream, headers);
      if (headers[':path'] === '/last') (stream.session as ServerHttp2Session).close();
    });
    const counted = await world.serveRaw((socket) => {
      connections++;
      cutInto(socket, connect(local, '127.0.0.1'), [65_536]);
    });
    await world.open(await world.serveStreams(echo('target')), counted);
    using client = connectTo(world.port);
    expect(by([await ask(client, { take: true, path: '/last' }), await ask(client, { take: true })])).toEqual([
      'local',
      'local',
    ]);
    expect(connections).toBe(2);
  });
});

describe('a slow side', { timeout: 60_000 }, () => {
  test('a local process that reads nothing stalls its own stream, and what waits stays small', async () => {
    await world.open(
      await world.serveStreams(echo('target')),
      await world.serveStreams((stream) => stream.on('error', () => undefined).pause()),
    );
    using client = connectTo(world.port);
    const stuck = open(client, { take: true, body: Buffer.alloc(0) });
    stuck.on('error', () => undefined);
    stuck.write(Buffer.alloc(8 << 20));
    const body = randomBytes(1 << 20);
    for (let round = 0; round < 3; round++) expect((await ask(client, { body })).headers['sum']).toBe(sha(body));
    // The windows have been used up: the rest waits in the client.
    expect(stuck.writableLength).toBeGreaterThan(0);
  });

  test('a client that reads one taken answer slowly gets the others', async () => {
    const big = randomBytes(3 << 20);
    const local = await world.serveStreams((stream, headers) => {
      stream.on('error', () => undefined);
      stream.respond({ ':status': 200, by: 'local' });
      stream.end(headers[':path'] === '/big' ? big : 'small');
    });
    await world.open(await world.serveStreams(echo('target')), local);
    using client = connectTo(world.port);
    await once(client, 'connect');
    client.setLocalWindowSize(1 << 20);
    const slow = open(client, { take: true, path: '/big' });
    await once(slow, 'response');
    slow.pause();
    for (const take of [true, false, true, false]) expect((await ask(client, { take })).code).toBe(0);
    const answer = answerOf(slow);
    slow.resume();
    expect(sha((await answer).body)).toBe(sha(big));
  });
});
