import { once } from 'node:events';
import type { ServerHttp2Stream } from 'node:http2';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FrameType, frame } from '#runtime/http2/frame.ts';
import { type Answer, ask, connectTo, open } from '../testing/http2-client.ts';
import { by, echo as echoStream, Http2World } from '../testing/http2-world.ts';
import { collect, until } from '../testing/relay-world.ts';
import type { EndpointEvents } from './endpoint.ts';
import { MarkedAnswers } from './marked-answers.ts';
import { MarkedFrames } from './marked-frames.ts';

const BOTH = { namesOrigin: true, forbidsCaching: true };
const MARKS = {
  target: 'Mirrord-Agent: passed-through\r\nCache-Control: no-cache, no-store, must-revalidate\r\n',
  session: 'Mirrord-Agent: forwarded-to-client\r\nCache-Control: no-cache, no-store, must-revalidate\r\n',
};
const SOON = { timeout: 30_000 };

let world: Http2World;
beforeEach(() => {
  world = new Http2World();
  world.marks = BOTH;
});
afterEach(async () => {
  await world.close();
});

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${fields}\r\n`;
const TAKE = 'X-Take: 1\r\n';

/** Answers the nth request of a connection with the nth of these. */
const saying = (...answers: readonly string[]) =>
  world.serveRaw((socket) => {
    let seen = '';
    let nth = 0;
    socket.on('data', (bytes: Buffer) => {
      seen += bytes.toString('latin1');
      for (let at = seen.indexOf('\r\n\r\n'); at !== -1; at = seen.indexOf('\r\n\r\n')) {
        seen = seen.slice(at + 4);
        socket.write(answers[nth++] ?? '', 'latin1');
      }
    });
    socket.on('end', () => socket.end());
  });

describe('answers of HTTP/1', SOON, () => {
  const plain = 'HTTP/1.1 200 OK\r\ncACHE-control:  public, max-age=9 \r\nX-Odd:\tkept \r\nContent-Length: 2\r\n\r\nok';
  const chunked =
    'HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nCache-Control: a\r\nCache-Control: b\r\n\r\n' +
    '5;x=y\r\nHTTP/\r\n0\r\nCache-Control: of the trailers\r\n\r\n';
  const interim = 'HTTP/1.1 103 Early Hints\r\nCache-Control: of the hint\r\n\r\n';
  const without = 'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n';

  const answered = (from: keyof typeof MARKS) =>
    [
      `HTTP/1.1 200 OK\r\nX-Odd:\tkept \r\nContent-Length: 2\r\n${MARKS[from]}\r\nok`,
      `HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n${MARKS[from]}\r\n`,
      '5;x=y\r\nHTTP/\r\n0\r\nCache-Control: of the trailers\r\n\r\n',
      `${interim}HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n${MARKS[from]}\r\n`,
    ].join('');
  const asked = (fields: string) => get('/1', fields) + get('/2', fields) + get('/3', fields);

  test('of a kept connection each says who answered, and nothing else of it is changed', async () => {
    await world.open(await saying(plain, chunked, interim + without), await saying(plain, chunked, interim + without));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(200), { maxLength: 4 }), async (cuts) => {
        const answer = await world.ask(asked('') + asked(TAKE), cuts);
        expect(answer.toString('latin1')).toBe(answered('target') + answered('session'));
      }),
      { numRuns: 30 },
    );
  });

  test('only what was asked for is added, and a head that comes in pieces is one', async () => {
    world.marks = { namesOrigin: true, forbidsCaching: false };
    const pieces = await world.serveRaw((socket) => {
      socket.once('data', async () => {
        for (const byte of 'HTTP/1.1 200 OK\r\nCache-Control: mine\r\nMirrord-Agent: forged\r\n\r\nuntil the end') {
          socket.write(byte);
          await new Promise((resolve) => setImmediate(resolve));
        }
        socket.end();
      });
    });
    await world.open(pieces, pieces);
    expect((await world.ask(get('/'))).toString()).toBe(
      'HTTP/1.1 200 OK\r\nCache-Control: mine\r\nMirrord-Agent: passed-through\r\n\r\nuntil the end',
    );
  });

  test('a protocol that takes over from HTTP goes through as it is', async () => {
    await world.open(await world.serve(() => undefined), await world.serve(() => undefined));
    const socket = world.connect();
    const upgrade = 'Connection: Upgrade\r\nUpgrade: echo\r\n';
    socket.write(get('/', upgrade));
    expect(await until(socket, (text) => text.endsWith('\r\n\r\n'))).toContain(MARKS.target);
    const sent = `${plain}${get('/')}`;
    socket.write(sent);
    expect(await until(socket, (text) => text.length >= sent.length)).toBe(sent);
    socket.destroy();
  });

  test('what speaks first and what is no HTTP come as they are', async () => {
    const greeting = await world.serveRaw((socket) => {
      socket.write('220 mail\r\n');
      socket.on('data', (bytes: Buffer) => socket.write(bytes)).on('end', () => socket.end(plain));
    });
    await world.open(greeting, greeting);
    expect((await world.ask('\x00\x01 no HTTP')).toString()).toContain(`no HTTP${plain}`);
  });
});

test('an answer that is cut short is passed on to where it was cut', () => {
  const heard: unknown[] = [];
  let inner: EndpointEvents | undefined;
  const silent = { write: () => true, end: () => undefined, destroy: () => undefined, pause: () => undefined };
  const listen = (events: EndpointEvents) => {
    inner = events;
  };
  const marked = new MarkedAnswers({ ...silent, resume: () => undefined, listen }, BOTH, 'session');
  marked.listen({
    onData: (bytes) => heard.push(bytes.toString('latin1')),
    onEnd: () => heard.push('end'),
    onDrain: () => undefined,
    onClosed: () => heard.push('closed'),
  });
  marked.write(Buffer.from(get('/')));
  inner?.onData(Buffer.from('HTTP/1.1 200 OK\r\nX-'));
  inner?.onEnd();
  inner?.onClosed(undefined);
  expect(heard).toEqual(['HTTP/1.1 200 OK\r\nX-', 'end', 'closed']);
});

test('a server that puts other frames into a block of headers is passed on as it is', () => {
  const frames = new MarkedFrames(BOTH, 'target');
  const begun = frame(FrameType.headers, 0, 1, Buffer.from([0x88]));
  const between = frame(FrameType.data, 0, 1, Buffer.from('between'));
  const rest = frame(FrameType.continuation, 4, 1, Buffer.alloc(0));
  const passed = [begun, between, rest].map((bytes) => frames.mark(Buffer.from(bytes)));
  expect(Buffer.concat(passed).equals(Buffer.concat([begun, between, rest]))).toBe(true);
});

describe('answers of HTTP/2', SOON, () => {
  const facts = ({ headers }: Answer) => [headers['by'], headers['mirrord-agent'], headers['cache-control']];

  test('each stream says who answered, with trailers and bodies as they were', async () => {
    await world.openEchoes();
    using client = connectTo(world.port);
    const answers: Answer[] = [];
    for (const take of [false, true, true, false, false]) {
      answers.push(await ask(client, { take, body: Buffer.from('body'), headers: { 'x-note': 'n'.repeat(30_000) } }));
    }
    const cache = 'no-cache, no-store, must-revalidate';
    const [passed, forwarded] = [
      ['target', 'passed-through', cache],
      ['local', 'forwarded-to-client', cache],
    ];
    expect(answers.map(facts)).toEqual([passed, forwarded, forwarded, passed, passed]);
    expect(answers.map(({ trailers }) => trailers?.['x-end'])).toEqual(by(answers));
    expect(answers.map(({ trailers }) => trailers?.['mirrord-agent'])).toEqual(Array(5).fill(undefined));
    expect(new Set(answers.map(({ body, headers }) => `${body} ${headers['note']?.length}`))).toEqual(
      new Set(['body 30000']),
    );
  });

  test("the target's own caching is replaced, also where it promises streams that nobody asked for", async () => {
    const pushing = (stream: ServerHttp2Stream) => {
      stream.pushStream({ ':path': '/pushed', 'x-long': 'p'.repeat(20_000) }, (error, pushed) => {
        if (error !== null) throw error;
        pushed.respond({ ':status': 200, 'cache-control': 'public' });
        pushed.end('pushed');
        stream.respond({ ':status': 200, 'cache-control': 'max-age=60', by: 'target' });
        stream.end('answer');
      });
    };
    await world.open(await world.serveStreams(pushing), await world.serveStreams(echoStream('local')));
    using client = connectTo(world.port);
    const pushes: unknown[] = [];
    const whole = new Promise<void>((resolve) => {
      client.on('stream', (stream, headers) => {
        stream.on('push', (pushed) => {
          pushes.push(headers[':path'], headers['x-long']?.length, pushed['cache-control'], pushed['mirrord-agent']);
          stream.resume().on('end', resolve);
        });
      });
    });
    expect(facts(await ask(client, {}))).toEqual(['target', 'passed-through', 'no-cache, no-store, must-revalidate']);
    await whole;
    expect(pushes).toEqual(['/pushed', 20_000, 'no-cache, no-store, must-revalidate', 'passed-through']);
  });
});

describe('a local process without a request', SOON, () => {
  test('is left after its time, and the next request comes on another connection', async () => {
    world.marks = undefined;
    world.idleMs = 50;
    const closed: Promise<unknown>[] = [];
    const local = await world.serveRaw((socket) => {
      closed.push(once(socket, 'end'));
      socket.on('end', () => socket.end());
      socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${closed.length}`));
    });
    await world.open(await saying(), local);
    const socket = world.connect();
    for (let nth = 1; nth <= 3; nth++) {
      socket.write(get('/', TAKE));
      expect(await until(socket, (text) => /\r\n\r\n\d$/.test(text))).toMatch(new RegExp(`${nth}$`));
      await closed[nth - 1];
    }
    const answer = collect(socket);
    socket.end();
    expect(await answer).toHaveLength(0);
  });

  test('an answer that takes longer than that is waited for', async () => {
    world.marks = undefined;
    world.idleMs = 20;
    let connections = 0;
    const local = await world.serveRaw((socket) => {
      connections += 1;
      socket.on('data', () => setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'), 200));
      socket.on('end', () => socket.end());
    });
    await world.open(await saying(), local);
    expect((await world.ask(get('/', TAKE) + get('/', TAKE))).toString()).toMatch(/^(HTTP\/1.1 200[\s\S]*\n\r\n){2}$/);
    expect(connections).toBe(1);
  });

  test('of HTTP/2 it is the same, and a stream that is open keeps the connection', async () => {
    world.marks = undefined;
    world.idleMs = 50;
    const closed: Promise<unknown>[] = [];
    const local = await world.serveStreams((stream, headers) => {
      const session = stream.session as NonNullable<typeof stream.session>;
      if (headers[':path'] === '/late') setTimeout(() => echoStream('late')(stream, headers), 200);
      else echoStream(`local ${closed.push(once(session, 'close'))}`)(stream, headers);
    });
    await world.open(await world.serveStreams(echoStream('target')), local);
    using client = connectTo(world.port);
    const first = await ask(client, { take: true });
    await closed[0];
    const second = await ask(client, { take: true });
    await closed[1];
    const late = open(client, { take: true, path: '/late' });
    const [headers] = await once(late.end(), 'response');
    expect([...by([first, second]), headers['by']]).toEqual(['local 1', 'local 2', 'late']);
  });
});

test('a first head that is not whole in its time is no request', SOON, async () => {
  world.marks = undefined;
  world.firstHeadMs = 100;
  const target = await world.serveRaw((socket) => socket.once('data', (bytes: Buffer) => socket.end(`got ${bytes}`)));
  await world.open(target, await saying());
  const socket = world.connect();
  socket.write('GET / HTT');
  expect(await until(socket, (text) => text.includes('got'))).toBe('got GET / HTT');
});
