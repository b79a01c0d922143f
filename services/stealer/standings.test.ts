import { expect, test } from 'vitest';
import { ConflictPolicy, type Standing } from '#proto/gen/v1/incoming.ts';
import { Standings } from './standings.ts';
import { Subscription } from './subscription.ts';

const owner = {
  sessionId: 'someone',
  take: () => {
    throw new Error('nothing is taken here');
  },
  lose: () => undefined,
  heardMs: 0,
  has: () => true,
};

function subscription(header: string | null, policy: keyof typeof ConflictPolicy, standing?: Standing): Subscription {
  const conditions = header === null ? [] : [{ condition: { $case: 'header' as const, value: header } }];
  return new Subscription(1, owner, {
    mode: 2,
    transport: 1,
    port: 80,
    filter: header === null ? undefined : { conditions, isAny: false },
    connectionBytes: 0,
    limitBytes: 0,
    maxConnections: 0,
    samplePerMillion: 0,
    maxBytesPerSecond: 0n,
    withAnswers: false,
    withOlder: false,
    onConflict: ConflictPolicy[policy] as ConflictPolicy,
    flushConnections: false,
    isAgain: standing !== undefined,
    standing,
    tls: [],
    http: undefined,
  });
}

const abort = (header: string | null) => subscription(header, 'CONFLICT_POLICY_ABORT');
const waiting = (header: string | null) => subscription(header, 'CONFLICT_POLICY_CONTINUE');
const overriding = (header: string | null) => subscription(header, 'CONFLICT_POLICY_OVERRIDE');
const returning = (of: Subscription, header: string | null) =>
  subscription(header, 'CONFLICT_POLICY_ABORT', { sinceNs: of.sinceNs, rank: of.rank });

test('different filters are in force together, in the order in which they came', () => {
  const standings = new Standings();
  const both = [abort('a'), abort('b')];
  for (const one of both) standings.add(one);
  expect(standings.inForce).toEqual(both);
});

test('who waits has nothing until who is before it has gone, and then before later ones', () => {
  const standings = new Standings();
  const [first, second, third] = [abort(null), waiting('a'), waiting(null)];
  standings.add(first);
  expect(standings.add(second).notes[0]).toMatch(/^it has no effect while session someone steals everything/);
  standings.add(third);
  expect(standings.inForce).toEqual([first]);
  standings.remove(first);
  expect(standings.inForce).toEqual([second]);
  standings.remove(second);
  expect(standings.inForce).toEqual([third]);
});

test('what is in force is not displaced by one that has waited longer', () => {
  const standings = new Standings();
  const [first, patient, later] = [abort('a'), waiting(null), abort('b')];
  for (const one of [first, patient, later]) standings.add(one);
  standings.remove(first);
  expect(standings.inForce).toEqual([later]);
  standings.remove(later);
  expect(standings.inForce).toEqual([patient]);
});

test('override takes the place of whom it conflicts with, and of nobody else', () => {
  const standings = new Standings();
  const [a, b] = [abort('a'), abort('b')];
  standings.add(a);
  standings.add(b);
  const taker = overriding('a');
  expect(standings.add(taker).lost).toEqual([a]);
  expect(standings.inForce).toEqual([taker, b]);
});

test('with a new holder those who come back have the places they had, whoever is first', () => {
  const former = [abort('a'), abort('b'), abort(null)] as const;
  const standings = new Standings();
  const newcomer = abort('b');
  const [a, b] = [returning(former[0], 'a'), returning(former[1], 'b')];
  standings.add(newcomer);
  expect(newcomer.rank).toBeGreaterThan(b.rank);
  expect(standings.add(b).lost).toEqual([newcomer]);
  expect(standings.add(a).lost).toEqual([]);
  expect(standings.inForce).toEqual([a, b]);
  expect(standings.add(returning(former[2], null))).toEqual({ notes: [], lost: [] });
  expect(standings.inForce).toEqual([a, b]);
});

test('a filter is told in words, cut and without control characters', () => {
  expect(abort('^x-user: \u0007\u009b').describe()).toContain('header "^x-user: \\u0007\\u009b" of port 80');
  expect(abort('a'.repeat(300)).describe().length).toBeLessThan(300);
});
