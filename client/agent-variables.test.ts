import { expect, test } from 'vitest';
import { settingsTaken, warnOfUnheard } from './agent-variables.ts';

test('an agent of this machine gets the settings of agents that are set, and nothing else', () => {
  const env = { MIRRORD_LOG_LEVEL: 'debug', MIRRORD_SNIFFER_FILTER: '', MIRRORD_SESSION_KEY_FILE: '/x', HOME: '/root' };
  expect(settingsTaken(env)).toEqual({ MIRRORD_LOG_LEVEL: 'debug' });
});

test.each<[string, NodeJS.ProcessEnv, boolean, string | null]>([
  ['in a cluster', { MIRRORD_SNIFFER_FILTER: 'classic' }, false, 'MIRRORD_SNIFFER_FILTER: for agents'],
  ['given', { MIRRORD_LOG_LEVEL: 'debug', MIRRORD_AGENT_ADDRESS: 'unix:/x' }, true, 'MIRRORD_LOG_LEVEL: for agents'],
  ['of this machine', { MIRRORD_SNIFFER_FILTER: 'classic' }, true, null],
  ['in a cluster, without any', {}, false, null],
])('whose agent is %s is told of settings that it does not hear', (_, env, isOfThisMachine, told) => {
  const said: string[] = [];
  warnOfUnheard(env, isOfThisMachine, { warn: (message) => said.push(message) });
  expect(said).toEqual(told === null ? [] : [expect.stringContaining(told)]);
});
