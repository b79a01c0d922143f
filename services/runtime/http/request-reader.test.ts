import { createServer, type IncomingMessage, METHODS } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { text } from 'node:stream/consumers';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES } from './body.ts';
import { type RequestPiece, RequestReader } from './request-reader.ts';

/** All pieces of `whole` cut at `cuts`; each chunk is overwritten after it was pulled, as a shared buffer would be. */
function piecesOf(whole: Buffer, cuts: readonly number[] = []): RequestPiece[] {
  const reader = new RequestReader();
  const pieces: RequestPiece[] = [];
  const ends = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b);
  let start = 0;
  for (const end of [...ends, whole.length]) {
    const chunk = Buffer.from(whole.subarray(start, end));
    start = end;
    reader.push(chunk);
    for (let piece = reader.next(); piece !== undefined; piece = reader.next()) {
      pieces.push({ ...piece, bytes: Buffer.from(piece.bytes) });
    }
    chunk.fill(0);
  }
  return pieces;
}

const summary = (pieces: readonly RequestPiece[]) =>
  pieces.map((piece) => (piece.kind === 'head' ? `${piece.head.method} ${piece.head.target}` : piece.kind));

type Request = Readonly<{ bytes: Buffer; body: string; target: string }>;

const word = fc.stringMatching(/^[a-z]{1,12}$/);
const field = fc.tuple(word, fc.stringMatching(/^[ -~]{0,20}$/)).map(([name, value]) => `x-${name}: ${value}\r\n`);
const chunked = fc
  .array(fc.tuple(fc.stringMatching(/^[a-z\r\n0]{1,60}$/), fc.constantFrom('', ';a', ';a=b', ';a="b c"')), {
    maxLength: 4,
  })
  .chain((chunks) =>
    fc.constantFrom('', 'x-sum: 1\r\n', 'a: b\r\nc: d\r\n').map((trailers) => ({
      body: chunks.map(([data]) => data).join(''),
      bytes: `${chunks.map(([data, ext]) => `${data.length.toString(16)}${ext}\r\n${data}\r\n`).join('')}0\r\n${trailers}\r\n`,
      field: 'Transfer-Encoding: chunked\r\n',
    })),
  );
const sized = fc.stringMatching(/^[a-z\r\n]{0,200}$/).map((body) => ({
  body,
  bytes: body,
  field: `Content-Length: ${body.length}\r\n`,
}));
const request: fc.Arbitrary<Request> = fc
  .tuple(fc.constantFrom('POST', 'PUT', 'PATCH'), word, fc.array(field, { maxLength: 5 }), fc.oneof(chunked, sized))
  .map(([method, path, fields, framed]) => ({
    target: `${method} /${path}`,
    body: framed.body,
    bytes: Buffer.from(
      `${method} /${path} HTTP/1.1\r\nHost: a\r\n${fields.join('')}${framed.field}\r\n${framed.bytes}`,
    ),
  }));
const conversation = fc.array(request, { minLength: 1, maxLength: 6 });

test('pipelined requests come apart at their ends, however they were cut, and no byte is changed', () => {
  fc.assert(
    fc.property(conversation, fc.array(fc.nat(), { maxLength: 12 }), (requests, cuts) => {
      const whole = Buffer.concat(requests.map(({ bytes }) => bytes));
      const pieces = piecesOf(whole, cuts);
      expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).equals(whole)).toBe(true);
      const heads = pieces.filter((piece) => piece.kind === 'head');
      expect(heads.map(({ head }) => `${head.method} ${head.target}`)).toEqual(requests.map(({ target }) => target));
      const ends = pieces.filter((piece) => piece.kind !== 'opaque' && piece.isLast);
      expect(ends).toHaveLength(requests.length);
    }),
    { numRuns: 300 },
  );
});

test('cut into single bytes it is the same', () => {
  fc.assert(
    fc.property(conversation, (requests) => {
      const whole = Buffer.concat(requests.map(({ bytes }) => bytes));
      const pieces = piecesOf(
        whole,
        Array.from({ length: whole.length }, (_, at) => at),
      );
      expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).equals(whole)).toBe(true);
      expect(pieces.filter(({ kind }) => kind === 'head')).toHaveLength(requests.length);
    }),
    { numRuns: 40 },
  );
});

/** What node's own server (llhttp) makes of the same bytes; undefined when it refuses them. */
async function byLlhttp(whole: Buffer): Promise<Array<{ target: string; body: string }> | undefined> {
  const seen: Array<{ target: string; body: string }> = [];
  const bodies: Promise<void>[] = [];
  let isRefused = false;
  const server = createServer({ requireHostHeader: false }, async (incoming: IncomingMessage, answer) => {
    const entry = { target: `${incoming.method} ${incoming.url}`, body: '' };
    seen.push(entry);
    const body = text(incoming).then(
      (all) => {
        entry.body = all;
      },
      () => {
        isRefused = true;
      },
    );
    bodies.push(body);
    await body;
    answer.end();
  });
  server.on('clientError', (_, socket) => {
    isRefused = true;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => client.destroy());
  client.resume();
  client.end(whole);
  await new Promise((resolve) => client.once('close', resolve));
  await Promise.all(bodies);
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  return isRefused ? undefined : seen;
}

test('what we take for requests, llhttp takes for the same requests with the same bodies', {
  timeout: 60_000,
}, async () => {
  const noise = fc.tuple(fc.nat(), fc.constantFrom('\r', '\n', ' ', '\0', ':', '0', 'x', '\t', '\r\n', ','));
  await fc.assert(
    fc.asyncProperty(conversation, fc.option(noise), async (requests, change) => {
      let whole = Buffer.concat(requests.map(({ bytes }) => bytes));
      if (change) {
        const at = change[0] % whole.length;
        whole = Buffer.concat([whole.subarray(0, at), Buffer.from(change[1]), whole.subarray(at + 1)]);
      }
      const pieces = piecesOf(whole);
      if (pieces.some(({ kind }) => kind === 'opaque')) return;
      const last = pieces.at(-1);
      const pulled = pieces.reduce((sum, { bytes }) => sum + bytes.length, 0);
      // The beginning of a head that the change left over: not judged yet by us.
      if (last === undefined || last.kind === 'opaque' || !last.isLast || pulled < whole.length) return;
      const ours = summary(pieces).filter((one) => one !== 'body');
      // llhttp knows methods by name, and no others.
      if (ours.some((one) => !METHODS.includes(one.split(' ')[0] ?? ''))) return;
      const theirs = await byLlhttp(whole);
      expect(
        theirs?.map(({ target }) => target),
        JSON.stringify(whole.toString('latin1')),
      ).toEqual(ours);
      if (!change) expect(theirs?.map(({ body }) => body)).toEqual(requests.map(({ body }) => body));
    }),
    { numRuns: 150 },
  );
});

test.each([
  ['a chunk size with a sign', '+3\r\nabc\r\n0\r\n\r\n'],
  ['a chunk size with 0x', '0x3\r\nabc\r\n0\r\n\r\n'],
  ['an empty chunk size', '\r\nabc\r\n0\r\n\r\n'],
  ['space after the chunk size', '3 \r\nabc\r\n0\r\n\r\n'],
  ['a chunk size that overflows', 'fffffffffffffffff\r\n'],
  ['a bare LF after the size', '3\nabc\r\n0\r\n\r\n'],
  ['a chunk longer than it said', '3\r\nabcd\r\n0\r\n\r\n'],
  ['a bare LF after the data', '3\r\nabc\n0\r\n\r\n'],
  ['a bare LF at the end', '0\r\n\n'],
  ['a trailer without a colon', '0\r\nnothing\r\n\r\n'],
  ['a folded trailer', '0\r\na: b\r\n c\r\n\r\n'],
  ['an extension beyond the limit', `3;${'a'.repeat(MAX_CHUNK_LINE_BYTES + 1)}\r\n`],
  ['trailers beyond the limit', `0\r\na: ${'b'.repeat(MAX_TRAILER_BYTES)}\r\n\r\n`],
])('%s makes the rest opaque, byte for byte', (_, body) => {
  const whole = Buffer.from(`POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${body}GET /next HTTP/1.1\r\n\r\n`);
  const pieces = piecesOf(whole);
  expect(pieces.at(-1)?.kind).toBe('opaque');
  expect(summary(pieces)).not.toContain('GET /next');
  expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).equals(whole)).toBe(true);
});

test('what follows a CONNECT or an upgrade waits, and is opaque when the answer says so', () => {
  const reader = new RequestReader();
  const upgrade = 'GET /chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  reader.push(Buffer.from(`${upgrade}GET /not-a-request HTTP/1.1\r\n\r\n`));
  expect(reader.next()).toMatchObject({ kind: 'head', isLast: true, mayLeaveHttp: true });
  reader.becomeOpaque();
  expect(reader.next()).toMatchObject({ kind: 'opaque' });
  expect(reader.next()).toBeUndefined();
});

test('a caller that stops pulling may use its chunk again after keep', () => {
  const reader = new RequestReader();
  const chunk = Buffer.from('GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n');
  reader.push(chunk);
  expect(reader.next()).toMatchObject({ head: { target: '/1' } });
  reader.keep();
  chunk.fill(0);
  expect(reader.waitingBytes).toBe(19);
  expect(reader.next()).toMatchObject({ head: { target: '/2' } });
  expect(reader.isBetweenRequests).toBe(true);
});

/** What is heard of bytes that come one by one, and the CPU that it took, in ms. */
function oneByOne(text: string): { heard: string[]; cpuMs: number } {
  const reader = new RequestReader();
  const heard: string[] = [];
  const before = process.cpuUsage();
  for (const byte of Buffer.from(text)) {
    reader.push(Buffer.from([byte]));
    for (let piece = reader.next(); piece !== undefined; piece = reader.next()) heard.push(piece.kind);
  }
  const { user, system } = process.cpuUsage(before);
  return { heard, cpuMs: (user + system) / 1_000 };
}

test('a request line that comes byte by byte costs no more than a field does, and is found to be none where it is none', () => {
  const long = 'a'.repeat(20_000);
  expect(oneByOne(`\r\nGET /${long} HTTP/2`).heard).toEqual(['opaque']);
  const field = oneByOne(`\r\nGET / HTTP/1.1\r\nHost: a\r\nX: ${long}\r\n\r\n`);
  const line = oneByOne(`\r\nGET /${long} HTTP/1.1\r\nHost: a\r\n\r\n`);
  expect([line.heard, field.heard]).toEqual([['head'], ['head']]);
  // Thirty times as much where it is looked at from its beginning with each.
  expect(line.cpuMs).toBeLessThan(10 * field.cpuMs);
});

test('behind a request that closes its connection there is no other', () => {
  const pieces = piecesOf(Buffer.from('GET /1 HTTP/1.1\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n'));
  expect(summary(pieces)).toEqual(['GET /1', 'opaque']);
});
