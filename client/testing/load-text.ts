// Loads a configuration from a text in a file of its own, as `-f` would.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '#proto/errors.ts';
import { type Loaded, type LoadInput, loadConfig } from '../config/load.ts';

export interface LoadTextOptions {
  ending?: string;
  env?: NodeJS.ProcessEnv;
  flags?: LoadInput['flags'];
}

export async function loadText(
  text: string,
  { ending = '.json', env = {}, flags = {} }: LoadTextOptions = {},
): Promise<Loaded> {
  const cwd = await mkdtemp(join(tmpdir(), 'mirrord-config-'));
  try {
    const configFile = `mirrord${ending}`;
    await writeFile(join(cwd, configFile), text);
    return await loadConfig({ configFile, cwd, env, flags });
  } finally {
    await rm(cwd, { recursive: true });
  }
}

/** The faults that loading finds; fails where it finds none or fails otherwise. */
export async function faultsOf(text: string, options: LoadTextOptions = {}): Promise<string[]> {
  try {
    await loadText(text, options);
  } catch (error) {
    if (error instanceof AppError && error.code === 'CONFIG_INVALID' && Array.isArray(error.data?.['faults'])) {
      return error.data['faults'];
    }
    throw error;
  }
  throw new Error('the configuration was accepted');
}
