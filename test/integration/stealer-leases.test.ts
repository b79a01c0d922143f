// Places at stolen ports are leases in a bucket of NATS: what they say, who may touch them, and what holds when it is full.

import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ConflictPolicy } from '../../proto/gen/v1/incoming.ts';
import { KeyValues } from '../../services/runtime/key-values.ts';
import { LeaseBucket } from '../../services/stealer/leases/lease-bucket.ts';
import { ALICE, LeaseStage, LIMITS, only, PATIENCE, PORT, WHOLE } from './lease-stage.ts';

const { CONFLICT_POLICY_CONTINUE: CONTINUE, CONFLICT_POLICY_OVERRIDE: OVERRIDE } = ConflictPolicy;

let stage: LeaseStage;

beforeAll(async () => {
  stage = await LeaseStage.open();
});
afterAll(() => stage?.close());
beforeEach(() => stage.enter());
afterEach(() => stage.leave());

test('a place is a key with who, since when and what; a refusal says the same, and the key goes with the place', async () => {
  const [alice, bob] = [await stage.session(), await stage.session()];
  const { id } = await alice.steal(only('alice'));
  await stage.expectPlaces(`${alice.sessionId} holds ${ALICE}`);
  const [lease] = await stage.placeKeys();
  const { since } = JSON.parse(lease?.value.toString() ?? '{}') as { since: string };
  await expect(bob.steal({ port: PORT })).rejects.toThrow(
    `port 8080 cannot be stolen: session ${alice.sessionId} steals ${ALICE} of port 8080 since ${since}`,
  );
  await bob.steal({ port: PORT, onConflict: CONTINUE });
  await stage.expectPlaces(`${alice.sessionId} holds ${ALICE}`, `${bob.sessionId} waits ${WHOLE}`);
  await alice.unsubscribe(id);
  await stage.expectPlaces(`${bob.sessionId} holds ${WHOLE}`);
  const { subscribed } = await alice.steal({ ...only('alice'), onConflict: OVERRIDE });
  expect(subscribed.notes[0]).toContain(`taken over: session ${bob.sessionId} steals everything of port 8080`);
  await stage.expectPlaces(`${alice.sessionId} holds ${ALICE}`);
  alice.vanish();
  await stage.expectPlaces();
});

test('a place and its port are written again for as long as their owner is heard, and go with the last of them', async () => {
  const [alice, bob] = [await stage.session(), await stage.session()];
  await alice.steal(only('alice'));
  await bob.steal(only('bob'));
  const revisions = async () => {
    const all = (await stage.bucket.list(5_000)).map((key) => stage.bucket.get(key, 5_000));
    const held = (await Promise.all(all)).filter(({ value }) => value.length > 0);
    return new Map(held.map(({ key, revision }) => [key, revision]));
  };
  await expect.poll(async () => (await revisions()).size, PATIENCE).toBe(3);
  const first = await revisions();
  await expect
    .poll(async () => {
      const now = await revisions();
      return [...first].filter(([key, revision]) => (now.get(key) ?? 0) <= revision).map(([key]) => key);
    }, PATIENCE)
    .toEqual([]);
  alice.vanish();
  bob.vanish();
  await expect.poll(async () => (await revisions()).size, PATIENCE).toBe(0);
});

test('of many who ask for all of a port at once one has it, and the others are told who', async () => {
  const askers = await Promise.all(Array.from({ length: 8 }, () => stage.session()));
  const answers = await Promise.allSettled(askers.map((one) => one.steal({ port: PORT })));
  const winners = askers.filter((_, at) => answers[at]?.status === 'fulfilled');
  expect(winners).toHaveLength(1);
  const refusals = answers.flatMap((one) => (one.status === 'rejected' ? [String(one.reason.message)] : []));
  expect(new Set(refusals.map((text) => /session (\w+) steals everything/.exec(text)?.[1]))).toEqual(
    new Set([winners[0]?.sessionId]),
  );
  await stage.expectPlaces(`${winners[0]?.sessionId} holds ${WHOLE}`);
});

test('fs-env, the sniffer and the agent can neither read nor write a lease', async () => {
  const alice = await stage.session();
  await alice.steal({ port: PORT });
  await stage.expectPlaces(`${alice.sessionId} holds ${WHOLE}`);
  const [{ key, revision } = { key: '', revision: 0 }] = await stage.placeKeys();
  for (const who of ['fs-env', 'sniffer', 'agent'] as const) {
    const theirs = new KeyValues(await stage.busOf(who), LIMITS);
    for (const act of [
      theirs.put(key, Buffer.from('mine'), revision, 300),
      theirs.remove(key, revision, 300),
      theirs.get(key, 300),
      theirs.list(300),
      theirs.open(300),
    ]) {
      await expect(act).rejects.toThrow();
    }
  }
  await stage.expectPlaces(`${alice.sessionId} holds ${WHOLE}`);
});

test('what the bucket does not take keeps nothing else out of it, and is said once', async () => {
  const said: string[] = [];
  const logger = pino({ level: 'warn' }, { write: (line: string) => void said.push(line) });
  let asked = 0;
  const leases = new LeaseBucket(logger);
  await leases.useBus(await stage.busOf('stealer'));
  const keep = (at: number, value: string) =>
    leases.keep(`target.8080.session.${at}`, { value: () => value, heardMs: () => performance.now() });
  const tooLong = () => {
    asked += 1;
    return 'x'.repeat(LIMITS.maxValueBytes);
  };
  for (let nth = 1; nth <= 3; nth++) {
    leases.keep('target.8080.session.0', { value: tooLong, heardMs: () => performance.now() });
    await expect.poll(() => asked, PATIENCE).toBeGreaterThanOrEqual(nth);
  }
  for (let at = 1; at <= 70; at++) keep(at, 'place');
  await expect.poll(async () => (await stage.placeKeys()).length, PATIENCE).toBe(70);
  keep(0, 'place');
  await expect.poll(async () => (await stage.placeKeys()).length, PATIENCE).toBe(71);
  leases.close();
  expect(said.map((line) => JSON.parse(line).msg)).toEqual(['leases cannot be written']);
});

test('a bucket that is full keeps nobody from stealing, is said, and two do not get the same', async () => {
  await stage.bucket.open(5_000);
  const fill = async (bytes: number) => {
    for (let at = 0; at < 1_000; at++) await stage.bucket.put(`fill.${bytes}.${at}`, Buffer.alloc(bytes), 0, 5_000);
  };
  await expect(fill(1_900)).rejects.toThrow('maximum bytes exceeded');
  await expect(fill(1)).rejects.toThrow('maximum bytes exceeded');
  const [alice, bob] = [await stage.session(), await stage.session()];
  const { subscribed } = await alice.steal({ port: PORT });
  expect(subscribed.notes.join()).toMatch(/has decided alone, without a lease in NATS: .*maximum bytes exceeded/);
  await expect(bob.steal({ port: PORT })).rejects.toThrow(alice.sessionId);
});
