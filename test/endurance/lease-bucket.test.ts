// The bucket of leases when somebody else writes into it, and when its nats-server stands still and dies.

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { ALICE, BOB, LeaseStage, only, PORT } from '../integration/lease-stage.ts';

let stage: LeaseStage;

beforeAll(async () => {
  stage = await LeaseStage.open();
});
afterAll(() => stage?.close());
beforeEach(() => stage.enter());
afterEach(() => stage.leave());

test('what somebody else wrote into the bucket decides nothing, and is written over', async () => {
  const [alice, bob] = [await stage.session(), await stage.session()];
  await alice.steal(only('alice'));
  await stage.expectPlaces(`${alice.sessionId} holds ${ALICE}`);
  for (const key of await stage.bucket.list(5_000)) {
    const { revision } = await stage.bucket.get(key, 5_000);
    await stage.bucket.put(key, Buffer.from([0xff, 0x00, 0x7b]), revision, 5_000);
  }
  await expect(bob.steal({ port: PORT })).rejects.toThrow(alice.sessionId);
  await bob.steal(only('bob'));
  await stage.expectPlaces(`${alice.sessionId} holds ${ALICE}`, `${bob.sessionId} holds ${BOB}`);
});

test('nats-server is killed: what stands stays, a claim is decided within a second and says so, and all is written when it is back', async () => {
  const [alice, bob, carol] = [await stage.session(), await stage.session(), await stage.session()];
  await alice.steal(only('alice'));
  await stage.expectPlaces(`${alice.sessionId} holds ${ALICE}`);
  const pid = stage.nats.pid as number;
  // Standing still it is away for as long as we want.
  process.kill(pid, 'SIGSTOP');
  const began = performance.now();
  const { subscribed } = await bob.steal(only('bob'));
  expect(performance.now() - began).toBeGreaterThan(900);
  expect(subscribed.notes.join()).toContain('who holds the target has decided alone, without a lease in NATS: ');
  await expect(carol.steal({ port: PORT })).rejects.toThrow(alice.sessionId);
  process.kill(pid, 'SIGKILL');
  await stage.expectPlaces(`${alice.sessionId} holds ${ALICE}`, `${bob.sessionId} holds ${BOB}`);
});
