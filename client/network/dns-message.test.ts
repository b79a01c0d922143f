import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatIp, parseIp } from '#proto/socket-address.ts';
import {
  ageBy,
  answerFor,
  buildAnswer,
  buildQuery,
  type DnsQuery,
  readAnswer,
  readQuery,
  withId,
} from './dns-message.ts';

/** No measure of speed: work that grows with the square of its input takes minutes. */
const LINEAR_MS = 10_000;

const folder = path.join(import.meta.dirname, '../../test/corpus/dns');
const corpus = readdirSync(folder).map((name) => ({
  name,
  bytes: Buffer.from(readFileSync(path.join(folder, name), 'utf8').replace(/#.*$/gm, '').replace(/\s/g, ''), 'hex'),
}));
const of = (name: string) => corpus.find((one) => one.name === `${name}.hex`)?.bytes as Buffer;
const A = 1;
const AAAA = 28;

describe('a question', () => {
  test('is read with all that makes it differ from others', () => {
    expect(readQuery(of('query-a'))).toMatchObject({
      id: 0x1234,
      name: 'db.shop.svc.cluster.local',
      type: A,
      class: 1,
      isRecursionDesired: true,
      edns: null,
      isPlain: true,
    });
    expect(readQuery(of('query-edns'))).toMatchObject({
      type: AAAA,
      edns: { payloadBytes: 1232, isDnssecOk: true, hasOptions: false },
      isPlain: true,
    });
    expect(readQuery(of('query-cookie'))).toMatchObject({ isAuthenticDesired: true, isPlain: false });
    expect(readQuery(of('query-0x20'))).toMatchObject({ name: 'db.example' });
  });

  test('with something behind it, or of another operation, is not plain', () => {
    expect(readQuery(Buffer.concat([of('query-a'), Buffer.of(0)]))?.isPlain).toBe(false);
    const update = Buffer.from(of('query-a'));
    update[2] = 0x28;
    expect(readQuery(update)?.isPlain).toBe(false);
  });

  test('is no answer, and an answer no question', () => {
    expect(readQuery(of('answer-a'))).toBeNull();
    expect(readAnswer(of('query-a'))).toBeNull();
  });
});

describe('an answer', () => {
  const texts = (name: string) => readAnswer(of(name))?.addresses.map(formatIp);

  test('has the addresses of the name that was asked for', () => {
    expect(texts('answer-a')).toEqual(['10.0.0.5', '10.0.0.6']);
    expect(texts('answer-cname')).toEqual(['10.0.0.7']);
    expect(texts('answer-srv')).toEqual([]);
  });

  test.each([
    ['answer-a', 20],
    ['answer-cname', 60],
    ['answer-nxdomain', 15],
    ['answer-nodata', 10],
    ['answer-nosoa', 0],
    ['answer-servfail', 0],
    ['answer-srv', 30],
  ])('%s holds for %d s', (name, ttlSeconds) => {
    expect(readAnswer(of(name))?.ttlSeconds).toBe(ttlSeconds);
  });

  test('tells that it is truncated', () => {
    expect(readAnswer(of('answer-truncated'))?.isTruncated).toBe(true);
  });

  test('ages without going below nothing', () => {
    const answer = Buffer.from(of('answer-a'));
    ageBy(answer, readAnswer(answer)?.ttlOffsets ?? [], 25);
    expect(readAnswer(answer)?.ttlSeconds).toBe(0);
    expect(answer.readUInt32BE(readAnswer(answer)?.ttlOffsets[0] ?? 0)).toBe(5);
  });

  test('for another asker has his id and his spelling', () => {
    const query = withId(of('query-0x20'), 0xbeef);
    const answer = answerFor(of('answer-a'), query, readQuery(query)?.questionEnd ?? 0);
    expect(answer.readUInt16BE(0)).toBe(0xbeef);
    expect(answer.subarray(12, 24).equals(query.subarray(12, 24))).toBe(true);
    expect(readAnswer(answer)?.addresses.map(formatIp)).toEqual(['10.0.0.5', '10.0.0.6']);
  });
});

test('what is built is read again', () => {
  const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);
  const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.'));
  fc.assert(
    fc.property(fc.nat(65_535), name, fc.array(fc.ipV4(), { maxLength: 5 }), (id, asked, addresses) => {
      const query = buildQuery(id, asked, A) as Buffer;
      const parsed = readQuery(query) as DnsQuery;
      expect(parsed).toMatchObject({ id, name: asked, type: A, isPlain: true });
      const ips = [...new Set(addresses)].map((text) => parseIp(text) as Uint8Array);
      const answer = readAnswer(buildAnswer(query, parsed, ips, 5));
      expect(answer).toMatchObject({ id, name: asked, rcode: 0 });
      expect(answer?.addresses.map(formatIp)).toEqual(ips.map(formatIp));
    }),
  );
});

test('a name that cannot be asked for is not', () => {
  for (const bad of ['a..b', `${'x'.repeat(64)}.b`, Array(130).fill('ab').join('.')]) {
    expect(buildQuery(1, bad, A)).toBeNull();
  }
});

test('letters that are no part of host names keep two names apart', () => {
  const dotted = Buffer.concat([
    of('query-a').subarray(0, 12),
    Buffer.from('\x03a.b\x00', 'latin1'),
    Buffer.of(0, 1, 0, 1),
  ]);
  expect(readQuery(dotted)?.name).toBe('a\\046b');
});

describe('whatever comes', () => {
  const malformed = corpus.filter(({ name }) => name.startsWith('bad-'));

  test.each(malformed)('$name is read as nothing', ({ bytes }) => {
    expect(readQuery(bytes)).toBeNull();
    expect(readAnswer(bytes)).toBeNull();
  });

  test('cut off anywhere is read as nothing, or as what is whole', () => {
    for (const { bytes } of corpus) {
      for (let length = 0; length < bytes.length; length += 1) {
        readQuery(bytes.subarray(0, length));
        expect(readAnswer(bytes.subarray(0, length))).toBeNull();
      }
    }
  });

  test('is read within its own bytes, and quickly', () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 12 });
    const one = fc.oneof(
      fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
      fc.tuple(fc.constantFrom(...corpus), edits).map(([{ bytes }, changes]) => {
        const copy = Buffer.from(bytes);
        for (const [at, value] of changes) if (copy.length > 0) copy[at % copy.length] = value;
        return copy;
      }),
    );
    fc.assert(
      fc.property(one, (bytes) => {
        const query = readQuery(bytes);
        if (query !== null) expect(query.questionEnd).toBeLessThanOrEqual(bytes.length);
        const answer = readAnswer(bytes);
        for (const at of answer?.ttlOffsets ?? []) expect(at + 4).toBeLessThanOrEqual(bytes.length);
        for (const ip of answer?.addresses ?? []) expect([4, 16]).toContain(ip.length);
      }),
      { numRuns: 5_000 },
    );
  });

  test('a message of nothing but records that point far back is read in a moment', () => {
    const head = Buffer.from(of('query-a').subarray(0, 12));
    head.writeUInt16BE(0x8180, 2);
    const label = Buffer.concat([Buffer.of(63), Buffer.alloc(63, 97)]);
    const question = Buffer.concat([label, label, label, Buffer.of(0, 0, 1, 0, 1)]);
    const record = Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12]);
    const count = Math.floor((65_535 - head.length - question.length) / record.length);
    head.writeUInt16BE(count, 6);
    const message = Buffer.concat([head, question, ...Array<Buffer>(count).fill(record)]);
    const startMs = performance.now();
    expect(readAnswer(message)?.ttlSeconds).toBe(0);
    expect(performance.now() - startMs).toBeLessThan(LINEAR_MS);
  });
});
