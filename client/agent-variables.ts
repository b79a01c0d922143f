// Settings of an agent and its services that an agent of this machine takes from the environment of the client that starts it. Here the
// user owns the agent as well, and grants himself what agents refuse by default.

import type { Progress } from './progress.ts';

const NAMES = [
  ...['MIRRORD_OUTGOING_ALLOW', 'MIRRORD_LOG_LEVEL', 'MIRRORD_STEALER_REDIRECT'],
  ...['MIRRORD_SNIFFER_FILTER', 'MIRRORD_SNIFFER_RING_BYTES', 'MIRRORD_SNIFFER_BYTES_PER_SECOND'],
  ...['MIRRORD_SNIFFER_FLOWS', 'MIRRORD_SNIFFER_HELD_BYTES', 'MIRRORD_SNIFFER_NICE'],
];

export function settingsTaken(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(NAMES.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
}

/** Who has set some, and has an agent that was started elsewhere, is told. */
export function warnOfUnheard(
  env: NodeJS.ProcessEnv,
  isOfThisMachine: boolean,
  progress: Pick<Progress, 'warn'>,
): void {
  const names = Object.keys(settingsTaken(env));
  if (names.length === 0 || (isOfThisMachine && !env['MIRRORD_AGENT_ADDRESS'])) return;
  progress.warn(
    `${names.join(', ')}: for agents that mirrord starts on this machine; this session's agent has its own settings`,
  );
}
