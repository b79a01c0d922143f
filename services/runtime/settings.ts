// Settings of a process from its environment: frozen, typed, and every fault reported at once. What a setting means stands
// in the process's own table; here is only how values are read.

import type { KeyObject } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import { parsePublicKey, parseSessionKey } from '#proto/token.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads one setting; throws an AppError whose message names the variable. */
export type Reader<T> = (environment: Environment) => T;

type Table = Readonly<Record<string, Reader<unknown>>>;
export type SettingsOf<T extends Table> = { readonly [K in keyof T]: T[K] extends Reader<infer V> ? V : never };

/** Throws one CONFIG_INVALID that lists every fault, one a line. */
export function readSettings<T extends Table>(environment: Environment, table: T): SettingsOf<T> {
  const settings: Record<string, unknown> = {};
  const faults: string[] = [];
  for (const [name, read] of Object.entries(table)) {
    try {
      settings[name] = read(environment);
    } catch (thrown) {
      faults.push(AppError.from(thrown, 'CONFIG_INVALID').message);
    }
  }
  if (faults.length > 0) throw new AppError('CONFIG_INVALID', faults.join('\n'), { data: { faults } });
  return Object.freeze(settings) as SettingsOf<T>;
}

/** An empty value counts as absent, as it does for a shell. */
export function text(name: string, fallback?: string): Reader<string> {
  return (environment) => {
    const value = environment[name] || fallback;
    if (value === undefined) throw fault(`${name} is not set`);
    return value;
  };
}

export function optionalText(name: string): Reader<string | null> {
  return (environment) => environment[name] || null;
}

export function oneOf<const T extends string>(name: string, values: readonly T[], fallback: T): Reader<T> {
  return (environment) => {
    const value = environment[name] || fallback;
    const known = values.find((candidate) => candidate === value);
    if (known === undefined) throw fault(`${name} is ${JSON.stringify(value)}, not one of ${values.join(', ')}`);
    return known;
  };
}

/** Names of a closed list, separated by commas. */
export function listOf<const T extends string>(name: string, values: readonly T[]): Reader<readonly T[]> {
  return (environment) => {
    const given = (environment[name] ?? '').split(',').map((item) => item.trim());
    return given.filter(Boolean).map((item) => oneOf(name, values, item as T)({}));
  };
}

export function integer(name: string, range: { min: number; max: number; fallback: number }): Reader<number> {
  return (environment) => {
    const value = environment[name] || String(range.fallback);
    const number = Number(value);
    if (/^-?\d{1,15}$/.test(value) && number >= range.min && number <= range.max) return number;
    throw fault(`${name} is ${JSON.stringify(value)}, not a whole number from ${range.min} to ${range.max}`);
  };
}

export function flag(name: string): Reader<boolean> {
  return (environment) => oneOf(name, ['0', '1'], '0')(environment) === '1';
}

/** The session key from the file the variable names. The file must be ours (or root's) and closed to everybody else. */
export function sessionKey(name: string): Reader<Uint8Array> {
  return (environment) => {
    const path = text(name)(environment);
    try {
      const { mode, uid } = statSync(path);
      if ((mode & 0o077) !== 0) throw fault(`mode ${(mode & 0o777).toString(8)} lets others read it`);
      if (uid !== 0 && uid !== process.geteuid?.()) throw fault(`it belongs to user ${uid}`);
      return parseSessionKey(readFileSync(path, 'utf8'));
    } catch (cause) {
      throw new AppError(
        'CONFIG_INVALID',
        `${name}: key file ${path}: ${AppError.from(cause, 'CONFIG_INVALID').message}`,
        {
          cause,
        },
      );
    }
  };
}

/** A client's public key in base64. */
export function optionalPublicKey(name: string): Reader<KeyObject | null> {
  return (environment) => {
    const value = environment[name];
    if (!value) return null;
    try {
      return parsePublicKey(value);
    } catch (cause) {
      throw new AppError('CONFIG_INVALID', `${name}: ${AppError.from(cause, 'CONFIG_INVALID').message}`, { cause });
    }
  };
}

function fault(message: string): AppError {
  return new AppError('CONFIG_INVALID', message);
}
