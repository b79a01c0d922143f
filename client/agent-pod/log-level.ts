// How much an agent writes into its log, out of what may be a list of levels by module.

import { AppError } from '#proto/errors.ts';

/** services/runtime/logger.ts */
const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'];

/** A level of its own before those of modules, of which the first counts. Throws CONFIG_INVALID where there is none. */
export function agentLogLevel(text: string): string {
  const parts = text.toLowerCase().split(',');
  const words = [...parts.filter((part) => !part.includes('=')), ...parts.map((part) => part.replace(/^.*=/, ''))];
  const named = words.map((word) => (word.trim() === 'off' ? 'silent' : word.trim()));
  const level = named.find((word) => LEVELS.includes(word));
  if (level !== undefined) return level;
  const known = `not one of ${LEVELS.join(', ')}, off`;
  throw new AppError('CONFIG_INVALID', `agent.log_level: ${JSON.stringify(text)} is ${known}`);
}
