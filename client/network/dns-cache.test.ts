import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatIp, internet, parseIp } from '#proto/socket-address.ts';
import { DnsCache, keyOf } from './dns-cache.ts';
import {
  buildAnswer,
  buildQuery,
  type DnsAnswer,
  type DnsQuery,
  readAnswer,
  readQuery,
  withId,
} from './dns-message.ts';
import { NameMemory } from './name-memory.ts';

const SERVER = internet(Buffer.of(10, 96, 0, 10), 53);
const OTHER = internet(Buffer.of(10, 96, 0, 11), 53);
const A = 1;

function ask(name: string, type = A): { query: Buffer; parsed: DnsQuery; key: string } {
  const query = buildQuery(1, name, type) as Buffer;
  const parsed = readQuery(query) as DnsQuery;
  return { query, parsed, key: keyOf(SERVER, parsed) as string };
}

function answer(
  { query, parsed }: { query: Buffer; parsed: DnsQuery },
  ttl: number,
): { bytes: Buffer; known: DnsAnswer } {
  const bytes = buildAnswer(query, parsed, [Buffer.of(10, 0, 0, 5)], ttl);
  return { bytes, known: readAnswer(bytes) as DnsAnswer };
}

test('an answer holds for its time, counted down, and not a moment longer', () => {
  let nowMs = 0;
  const cache = new DnsCache(() => nowMs);
  const question = ask('db.example');
  const { bytes, known } = answer(question, 30);
  cache.store(question.key, bytes, known);
  nowMs = 12_999;
  const later = withId(question.query, 77);
  const found = cache.find(question.key, later, question.parsed) as Buffer;
  expect(readAnswer(found)).toMatchObject({ id: 77, ttlSeconds: 18 });
  nowMs = 29_999;
  expect(cache.find(question.key, later, question.parsed)).not.toBeNull();
  nowMs = 30_000;
  expect(cache.find(question.key, later, question.parsed)).toBeNull();
  expect([cache.entries, cache.bytes]).toEqual([0, 0]);
});

test('what must not be kept is not', () => {
  const cache = new DnsCache(() => 0);
  const question = ask('db.example');
  cache.store(question.key, answer(question, 0).bytes, answer(question, 0).known);
  const { bytes, known } = answer(question, 30);
  cache.store(question.key, bytes, { ...known, isTruncated: true });
  expect(cache.entries).toBe(0);
  for (const type of [251, 252, 255]) expect(keyOf(SERVER, ask('db.example', type).parsed)).toBeNull();
  expect(keyOf(SERVER, { ...question.parsed, isPlain: false })).toBeNull();
});

test('questions that may be answered differently have keys of their own', () => {
  const { parsed } = ask('db.example');
  const edns = { payloadBytes: 1232, isDnssecOk: false, hasOptions: false };
  const variants: DnsQuery[] = [
    parsed,
    { ...parsed, type: 28 },
    { ...parsed, class: 3 },
    { ...parsed, name: 'db.example2' },
    { ...parsed, isRecursionDesired: false },
    { ...parsed, isCheckingDisabled: true },
    { ...parsed, isAuthenticDesired: true },
    { ...parsed, edns },
    { ...parsed, edns: { ...edns, isDnssecOk: true } },
    { ...parsed, edns: { ...edns, payloadBytes: 512 } },
  ];
  const keys = [...variants.map((one) => keyOf(SERVER, one)), keyOf(OTHER, parsed)];
  expect(new Set(keys).size).toBe(variants.length + 1);
  expect(keyOf(SERVER, { ...parsed, id: 99 })).toBe(keys[0]);
});

test('is bounded in entries and bytes, whatever is asked', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(9_000), fc.nat(60_000)), { minLength: 100, maxLength: 300 }), (steps) => {
      const cache = new DnsCache(() => 0);
      for (const [number, bytes] of steps) {
        const question = ask(`n${number}.example`);
        const { known } = answer(question, 30);
        cache.store(question.key, Buffer.alloc(bytes + 100), known);
        expect(cache.bytes).toBeLessThanOrEqual(4 * 1024 * 1024);
      }
    }),
    { numRuns: 10 },
  );
  const cache = new DnsCache(() => 0);
  for (let number = 0; number < 5_000; number += 1) {
    const question = ask(`n${number}`);
    cache.store(question.key, answer(question, 30).bytes, answer(question, 30).known);
  }
  expect(cache.entries).toBe(4_096);
});

test('names are remembered by all their addresses, under their search domains too', () => {
  const memory = new NameMemory(['shop.svc.cluster.local']);
  const ip = (text: string) => parseIp(text) as Uint8Array;
  memory.learn('db.shop.svc.cluster.local', [ip('10.0.0.5')], 'remote');
  memory.learn('db.shop.svc.cluster.local', [ip('10.0.0.6')], 'remote');
  expect(memory.isAddressOf('db', ip('10.0.0.5'))).toBe(true);
  expect(memory.isAddressOf('db', ip('10.0.0.6'))).toBe(true);
  expect(memory.isAddressOf('db', ip('10.0.0.7'))).toBe(false);
  expect(memory.isAddressOf('other', ip('10.0.0.5'))).toBeNull();
  expect(memory.remoteNameOf(ip('10.0.0.5'))).toBe('db.shop.svc.cluster.local');
  memory.learn('here', [ip('10.0.0.9')], 'local');
  expect(memory.remoteNameOf(ip('10.0.0.9'))).toBeNull();
});

test('a thousand names are remembered, and of each what it had last', () => {
  const memory = new NameMemory();
  for (let number = 0; number < 1_500; number += 1)
    memory.learn(`n${number}`, [Buffer.of(10, 0, number >> 8, number & 255)], 'remote');
  expect(memory.names).toBe(1_000);
  expect(memory.isAddressOf('n0', Buffer.of(10, 0, 0, 0))).toBeNull();
  expect(memory.remoteNameOf(Buffer.of(10, 0, 0, 0))).toBeNull();
  for (let last = 0; last < 300; last += 1) memory.learn('busy', [Buffer.of(11, 0, last >> 8, last & 255)], 'remote');
  expect(memory.isAddressOf('busy', Buffer.of(11, 0, 0, 0))).toBe(false);
  expect(formatIp(Buffer.of(11, 0, 1, 43))).toBe('11.0.1.43');
  expect(memory.isAddressOf('busy', Buffer.of(11, 0, 1, 43))).toBe(true);
});
