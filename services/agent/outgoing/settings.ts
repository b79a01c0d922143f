// Readers of the settings that concern the target's network, for the table in main.ts.

import { AppError } from '#proto/errors.ts';
import type { Reader } from '#runtime/settings.ts';
import { parseIp } from './address.ts';
import { parseGrant } from './deny-list.ts';

/** Exceptions to the deny list, separated by commas (deny-list.ts tells their form). */
export function grants(name: string): Reader<readonly string[]> {
  return (environment) => {
    const given = split(environment[name]);
    for (const text of given) {
      try {
        parseGrant(text);
      } catch (cause) {
        throw new AppError('CONFIG_INVALID', `${name}: ${AppError.from(cause, 'CONFIG_INVALID').message}`, { cause });
      }
    }
    return given;
  };
}

/** Addresses without ports, separated by commas, as `status.hostIPs` of a pod has them. */
export function addresses(name: string): Reader<readonly string[]> {
  return (environment) => {
    const given = split(environment[name]);
    const wrong = given.find((text) => parseIp(text) === null || text.includes('%'));
    if (wrong === undefined) return given;
    throw new AppError('CONFIG_INVALID', `${name}: ${JSON.stringify(wrong)} is no address`);
  };
}

function split(value: string | undefined): string[] {
  return (value ?? '')
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean);
}
