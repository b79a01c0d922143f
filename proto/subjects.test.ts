import { expect, test } from 'vitest';
import { agentHeartbeat, serviceLookup, serviceProtocol, sessionOpened } from './subjects.ts';

test('a node name with dots stays one part of the subject', () => {
  expect(serviceLookup('node-1.example.org', 'fs-env')).toBe(
    'mirrord.v1.node.node-1_example_org.service.fs-env.lookup',
  );
});

test('what could widen a subject is refused', () => {
  for (const name of ['', '*', '>', 'a b', 'a\r\nPUB x']) {
    expect(() => agentHeartbeat(name), name).toThrow('is no name');
    expect(() => sessionOpened(name), name).toThrow('is no name');
  }
});

test('an instance answers for all, for its name and for itself', () => {
  expect(serviceProtocol('PING', 'mirrord-fs-env', 'abc')).toEqual([
    '$SRV.PING',
    '$SRV.PING.mirrord-fs-env',
    '$SRV.PING.mirrord-fs-env.abc',
  ]);
});
