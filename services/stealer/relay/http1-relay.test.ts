import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ResponseReader } from '#runtime/http/response-reader.ts';
import { collect, echo, RelayWorld, sha, until } from '../testing/relay-world.ts';

let world: RelayWorld;
beforeEach(() => {
  world = new RelayWorld();
});
afterEach(async () => {
  await world.close();
});

type Answer = Readonly<{ status: number; body: string }>;

/** Bodies of the answers in a conversation, chunked or not. */
function answersOf(bytes: Buffer, methods: readonly string[]): Answer[] {
  const waiting = [...methods];
  const reader = new ResponseReader(() => waiting[0]);
  reader.push(bytes);
  const answers: Array<{ status: number; body: string }> = [];
  for (let piece = reader.next(); piece !== undefined; piece = reader.next()) {
    if (piece.kind === 'head' && !piece.isInterim) answers.push({ status: piece.head.status, body: '' });
    const last = answers.at(-1);
    if (piece.kind === 'body' && last !== undefined) last.body += piece.bytes.toString('latin1');
    if (piece.kind !== 'opaque' && piece.isLast) waiting.shift();
  }
  return answers;
}

const by = (answer: Answer | undefined): string => /"by":"(\w+)"/.exec(answer?.body ?? '')?.[1] ?? `${answer?.status}`;

async function openEchoes(): Promise<void> {
  await world.open(await world.serve(echo('target')), await world.serve(echo('local')));
}

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${fields}\r\n`;
const TAKE = 'X-Take: 1\r\n';

describe('who answers', () => {
  test('one connection: what the filter wants is answered by the session, the rest by the target, in order', async () => {
    await openEchoes();
    const bytes = await world.ask(
      get('/1') + get('/2', TAKE) + get('/3') + get('/4') + get('/5', TAKE) + get('/6', TAKE),
    );
    const answers = answersOf(bytes, Array(6).fill('GET'));
    expect(answers.map(by)).toEqual(['target', 'local', 'target', 'target', 'local', 'local']);
    expect(answers.map(({ body }) => /GET \/\d/.exec(body)?.[0])).toEqual([1, 2, 3, 4, 5, 6].map((n) => `GET /${n}`));
  });

  test('random conversations, cut anywhere, reach whom they should with the body they had', {
    timeout: 60_000,
  }, async () => {
    await openEchoes();
    const request = fc
      .record({
        isTaken: fc.boolean(),
        method: fc.constantFrom('POST', 'PUT'),
        body: fc.oneof(
          fc.stringMatching(/^[a-z\r\n]{0,80}$/),
          fc.nat(200_000).map((length) => 'x'.repeat(length)),
        ),
        isChunked: fc.boolean(),
      })
      .map((one) => {
        const framing = one.isChunked ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${one.body.length}\r\n`;
        const chunk = one.body === '' ? '' : `${one.body.length.toString(16)};e=1\r\n${one.body}\r\n`;
        const body = one.isChunked ? `${chunk}0\r\nsum: 1\r\n\r\n` : one.body;
        return {
          ...one,
          text: `${one.method} / HTTP/1.1\r\nHost: a\r\n${one.isTaken ? TAKE : ''}${framing}\r\n${body}`,
        };
      });
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 10 }),
        async (requests, cuts) => {
          const bytes = await world.ask(requests.map(({ text }) => text).join(''), cuts);
          const answers = answersOf(
            bytes,
            requests.map(({ method }) => method),
          );
          expect(answers.map(by)).toEqual(requests.map(({ isTaken }) => (isTaken ? 'local' : 'target')));
          requests.forEach(({ body }, index) => {
            expect(answers[index]?.body).toContain(sha(body));
          });
        },
      ),
      { numRuns: 60, endOnFailure: true },
    );
    expect(world.relays.size).toBe(0);
  });

  test('cut into single bytes it is the same', async () => {
    await openEchoes();
    const text = get('/1', TAKE) + get('/2') + get('/3', TAKE);
    const bytes = await world.ask(
      text,
      [...text].map((_, at) => at),
    );
    expect(answersOf(bytes, ['GET', 'GET', 'GET']).map(by)).toEqual(['local', 'target', 'local']);
  });

  test('what the target gets is what the client sent, byte for byte', async () => {
    const got: Buffer[] = [];
    const origin = await world.serveRaw((socket) => {
      socket.on('data', (chunk: Buffer) => got.push(chunk));
      socket.on('end', () => socket.end('HTTP/1.1 200 OK\r\n\r\nas it is \0\xff'));
    });
    await world.open(origin, 1);
    const sent =
      'POST /odd?%zz HTTP/1.1\r\nhOsT:   x \t\r\nTransfer-Encoding: CHUNKED\r\n\r\n00a;x="y"\r\n0123456789\r\n0\r\nz: \r\n\r\n';
    const answer = await world.ask(sent, [3, 40, 90]);
    expect(Buffer.concat(got).toString('latin1')).toBe(sent);
    expect(answer.toString('latin1')).toBe('HTTP/1.1 200 OK\r\n\r\nas it is \0\xc3\xbf');
  });
});

describe('the framing of answers', () => {
  test('HEAD, 204, 304, interim answers and closing ones stay apart', async () => {
    const target = await world.serve((request, response) => {
      if (request.url === '/204') response.writeHead(204).end();
      else if (request.url === '/304') response.writeHead(304, { 'content-length': 5 }).end();
      else if (request.url === '/hints') {
        response.writeEarlyHints({ link: '</a>; rel=preload' });
        response.end('hinted');
      } else response.writeHead(200, { 'content-length': 5 }).end('hello');
    });
    await world.open(target, await world.serve(echo('local')));
    const text = `HEAD / HTTP/1.1\r\nHost: a\r\n\r\n${get('/204')}${get('/t', TAKE)}${get('/304')}${get('/hints')}${get('/')}`;
    const answers = answersOf(await world.ask(text), ['HEAD', 'GET', 'GET', 'GET', 'GET', 'GET']);
    expect(answers.map(({ status }) => status)).toEqual([200, 204, 200, 304, 200, 200]);
    expect(by(answers[2])).toBe('local');
    expect(answers[5]?.body).toBe('hello');
  });

  test('a client that waits for 100 Continue gets it from whom its request goes to', async () => {
    await openEchoes();
    for (const fields of ['', TAKE]) {
      const socket = world.connect();
      socket.write(`POST / HTTP/1.1\r\nHost: a\r\n${fields}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`);
      await until(socket, (text) => text.includes('100 Continue\r\n\r\n'));
      socket.end('abc');
      expect((await collect(socket)).toString()).toContain(sha('abc'));
    }
  });

  test('a session that answers Connection: close ends the connection after its answer', async () => {
    const local = await world.serve((_, response) => response.setHeader('connection', 'close').end('bye'));
    await world.open(await world.serve(echo('target')), local);
    const socket = world.connect();
    socket.write(get('/', TAKE) + get('/never'));
    const answer = (await collect(socket)).toString();
    expect(answer).toContain('bye');
    expect(answer).not.toContain('target');
  });
});

describe('leaving HTTP', () => {
  test.each([
    ['the target', ''],
    ['a session', TAKE],
  ])('an upgrade accepted by %s is a tunnel to it, with what the client sent ahead', async (_, fields) => {
    await openEchoes();
    const socket = world.connect();
    socket.write(
      `${get('/chat', `${fields}Connection: Upgrade\r\nUpgrade: echo\r\n`)}GET / HTTP/1.1\r\nX-Take: 1\r\n\r\n`,
    );
    await until(socket, (text) => text.includes('101 ') && text.endsWith('X-Take: 1\r\n\r\n'));
    socket.end('\0\r\n\r\n');
    expect((await collect(socket)).toString()).toBe('\0\r\n\r\n');
  });

  test('an upgrade that is refused is an ordinary answer', async () => {
    const refusing = await world.serveRaw((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n'));
      socket.on('end', () => socket.end());
    });
    await world.open(refusing, await world.serve(echo('local')));
    const text = get('/chat', 'Connection: Upgrade\r\nUpgrade: echo\r\n') + get('/', TAKE);
    expect(answersOf(await world.ask(text), ['GET', 'GET']).map(by)).toEqual(['400', 'local']);
  });

  test('a server that speaks first is heard at once', async () => {
    const smtp = await world.serveRaw((socket) => {
      socket.write('220 mail ready\r\n');
      socket.on('data', (chunk: Buffer) => socket.write(`250 ${chunk}`)).on('end', () => socket.end());
    });
    await world.open(smtp, 1);
    const socket = world.connect();
    await until(socket, (text) => text === '220 mail ready\r\n');
    socket.end('EHLO me\r\n');
    expect((await collect(socket)).toString()).toBe('250 EHLO me\r\n');
  });

  test.each([
    ['a binary protocol', '\x16\x03\x01\0\xa5'],
    ['two lengths', 'POST / HTTP/1.1\r\nX-Take: 1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nX-Take: 1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
  ])('%s goes to the target as it is, and so does all that follows', async (_, text) => {
    const got: Buffer[] = [];
    const origin = await world.serveRaw((socket) => {
      socket.on('data', (chunk: Buffer) => got.push(chunk)).on('end', () => socket.end('seen'));
    });
    await world.open(origin, await world.serve(echo('local')));
    const whole = text + get('/next', TAKE);
    expect((await world.ask(whole)).toString()).toBe('seen');
    expect(Buffer.concat(got)).toEqual(Buffer.from(whole, 'latin1'));
  });
});

describe('ends', () => {
  test('a session that ends gets its own request a 502, and the next goes to the target', async () => {
    const local = await world.serve((request) => request.resume());
    await world.open(await world.serve(echo('target')), local);
    const socket = world.connect();
    const first = until(socket, (text) => text.includes('has ended\n'));
    socket.write(get('/', TAKE));
    await expect.poll(() => world.openSockets).toBeGreaterThanOrEqual(6);
    world.isTaking = false;
    for (const relay of world.relays) relay.revoke(world.taker);
    expect(await first).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    socket.end(get('/after', TAKE));
    expect((await collect(socket)).toString()).toContain('"by":"target"');
  });

  test('a local process that is not there is a 502 as well, and a HEAD has no body', async () => {
    const gone = await world.serveRaw(() => undefined);
    await world.open(await world.serve(echo('target')), gone);
    world.takerPort = 1;
    const text = `HEAD / HTTP/1.1\r\nHost: a\r\n${TAKE}\r\n${get('/', TAKE)}${get('/3')}`;
    expect(answersOf(await world.ask(text), ['HEAD', 'GET', 'GET']).map(by)).toEqual(['502', '502', 'target']);
  });

  describe('a local process that closes a connection it was done with', () => {
    /** Answers the first request of its first connection, and all of the others. */
    const closesOnce = async (): Promise<() => number> => {
      let connections = 0;
      const local = await world.serveRaw((socket) => {
        const isFirst = ++connections === 1;
        let answered = 0;
        socket.on('data', () => {
          if (isFirst && answered++ > 0) socket.end();
          else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"by":"local"}');
        });
        socket.on('end', () => socket.end());
      });
      await world.open(await world.serve(echo('target')), local);
      return () => connections;
    };
    const post = (length: number) =>
      `POST / HTTP/1.1\r\nHost: a\r\n${TAKE}Content-Length: ${length}\r\n\r\n${'x'.repeat(length)}`;

    test.each([
      ['not reached', post(5), ['local', 'local', 'target']],
      ['perhaps', get('/2', TAKE), ['local', 'local', 'target']],
      ['perhaps', post(5), ['local', '502', 'target']],
      ['not reached', post(70_000), ['local', '502', 'target']],
      [undefined, get('/2', TAKE), ['local', '502', 'target']],
    ] as const)('%s: the next request is sent again if that cannot do harm', async (localEnd, second, answers) => {
      const connections = await closesOnce();
      world.localEnd = localEnd;
      const bytes = await world.ask(get('/1', TAKE) + second + get('/3'));
      expect(answersOf(bytes, ['GET', 'POST', 'GET']).map(by)).toEqual(answers);
      expect(connections()).toBe(answers[1] === 'local' ? 2 : 1);
    });

    test('marks in the answers do not hide where a request came', async () => {
      await closesOnce();
      world.localEnd = 'not reached';
      world.marks = { namesOrigin: true, forbidsCaching: false };
      const bytes = await world.ask(get('/1', TAKE) + post(5));
      expect(answersOf(bytes, ['GET', 'POST']).map(by)).toEqual(['local', 'local']);
    });

    test('on its first request gets no second one', async () => {
      let connections = 0;
      const local = await world.serveRaw((socket) => {
        connections += 1;
        socket.on('data', () => socket.end());
      });
      await world.open(await world.serve(echo('target')), local);
      world.localEnd = 'perhaps';
      expect(answersOf(await world.ask(get('/1', TAKE)), ['GET']).map(by)).toEqual(['502']);
      expect(connections).toBe(1);
    });
  });

  test('a request cut off in its middle closes behind its 502', async () => {
    await world.open(await world.serve(echo('target')), 1);
    world.takerPort = 1;
    const socket = world.connect();
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\n${TAKE}Content-Length: 100\r\n\r\nabc`);
    expect((await collect(socket)).toString()).toMatch(/^HTTP\/1\.1 502 .*\r\nConnection: close\r\n/s);
  });

  test('a target that closes while only sessions were asked is connected again when it is needed', async () => {
    let connections = 0;
    const origin = await world.serveRaw((socket) => {
      if (++connections === 1) socket.end();
      else
        socket
          .on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
          .on('end', () => socket.end());
    });
    let answerLocal: () => void = () => undefined;
    const local = await world.serve((_, response) => {
      answerLocal = () => response.end('{"by":"local"}');
    });
    await world.open(origin, local);
    const socket = world.connect();
    socket.write(get('/1', TAKE));
    await expect.poll(() => connections).toBe(1);
    await expect.poll(() => answerLocal.length + Number(answerLocal.toString().includes('end'))).toBe(1);
    answerLocal();
    await until(socket, (text) => text.includes('local'));
    socket.end(get('/2'));
    expect((await collect(socket)).toString()).toMatch(/ok$/);
    expect(connections).toBe(2);
  });

  test('a target that refuses is a cut for its own requests, not for a session', async () => {
    await world.open(1, await world.serve(echo('local')));
    expect(answersOf(await world.ask(get('/', TAKE)), ['GET']).map(by)).toEqual(['local']);
    expect((await world.ask(get('/'))).toString()).toBe('');
    const silent = world.connect();
    await new Promise((resolve) => silent.once('close', resolve));
  });

  test('a client that resets takes its connections along', async () => {
    await openEchoes();
    const socket = world.connect();
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\n${TAKE}Content-Length: 100\r\n\r\nabc`);
    await expect.poll(() => world.openSockets).toBeGreaterThanOrEqual(6);
    socket.resetAndDestroy();
    await expect.poll(() => world.openSockets).toBe(0);
    expect(world.relays.size).toBe(0);
  });

  test('a client that reads nothing stops the target, and what waits for it stays small', async () => {
    const total = 64 << 20;
    let written = 0;
    const origin = await world.serve((_, response) => {
      response.setHeader('content-length', total);
      const block = Buffer.alloc(1 << 16);
      const write = (): void => {
        while (written < total) {
          written += block.length;
          if (!response.write(block)) {
            response.once('drain', write);
            return;
          }
        }
        response.end();
      };
      write();
    });
    await world.open(origin, 1);
    const socket = world.connect().pause();
    socket.write(get('/'));
    // It stops growing when every buffer of the kernel and one write of the relay's are full.
    let last = -1;
    await expect
      .poll(
        () => {
          const isStill = written > 0 && written === last;
          last = written;
          return isStill;
        },
        { interval: 300, timeout: 20_000 },
      )
      .toBe(true);
    expect(written).toBeLessThan(total / 2);
    let got = 0;
    socket.on('data', (chunk: Buffer) => {
      got += chunk.length;
    });
    socket.resume();
    await expect.poll(() => got, { timeout: 20_000 }).toBeGreaterThan(total);
  }, 60_000);
});
