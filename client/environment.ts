// The environment of the local process: the target's variables over the local ones, by the rules of feature.env. Names
// may be shown, values never. `load_from_process` changes nothing: the environment is complete before the local process
// starts, whoever starts it.

import { isUtf8 } from 'node:buffer';
import { AppError } from '#proto/errors.ts';
import type { Config } from './config/schema/root.ts';
import { parseDotenv } from './dotenv.ts';
import { compilePattern } from './file-rules/pattern.ts';

export interface RemoteVariable {
  name: Uint8Array;
  value: Uint8Array;
}

export interface EnvironmentInput {
  /** In the target's order; a name that comes again replaces the first. */
  remote: readonly RemoteVariable[];
  local: NodeJS.ProcessEnv;
  config: Config['feature']['env'];
  /** Text of feature.env.env_file. */
  readEnvFile?: (path: string) => Promise<string>;
}

export interface Environment {
  env: Record<string, string>;
  /** Names of those that have the target's own values. */
  fromTarget: string[];
  warnings: string[];
}

/** About the machine and its installation of runtimes: the target's would break programs here. */
export const EXCLUDED_BY_DEFAULT: ReadonlySet<string> = new Set([
  ...['PATH', 'HOME', 'HOMEPATH', 'PWD', 'CLASSPATH', 'JAVA_EXE', 'JAVA_HOME', 'JAVA_TOOL_OPTIONS', '_JAVA_OPTIONS'],
  ...['CATALINA_HOME', 'PYTHONPATH', 'RUBYLIB', 'RUBYOPT', 'GEM_HOME', 'GEM_PATH', 'GOPATH', 'GOMODCACHE', 'RUST_LOG'],
  // Code of the target's libc and machine would be loaded into every program started here.
  ...['LD_PRELOAD', 'LD_AUDIT'],
  ...['MIRRORD_LOG', 'DOTNET_EnableDiagnostics', 'DOTNET_STARTUP_HOOKS', 'BUNDLER_VERSION'],
  ...['APP_CONFIG', 'BIN_PATH', 'FORCE_RUBY_PLATFORM', 'GEMFILE', 'GEM_PATH', 'PATH', 'WITHOUT'].map(
    (name) => `BUNDLE_${name}`,
  ),
  ...['BUNDLER_ORIG_MANPATH', 'BUNDLER_VERSION', 'BUNDLE_BIN_PATH', 'BUNDLE_GEMFILE', 'GEM_HOME'].map(
    (name) => `BUNDLER_ORIG_${name}`,
  ),
  ...['MANPATH', 'PATH', 'RB_USER_INSTALL', 'RUBYLIB', 'RUBYOPT'].map((name) => `BUNDLER_ORIG_${name}`),
]);

/** What runs beside the target has settings of its own; ours are those of this machine. */
const OURS = /^MIRRORD_/;

/** Rejects with CONFIG_INVALID when the env_file cannot be read. */
export async function buildEnvironment(input: EnvironmentInput): Promise<Environment> {
  const { config, local } = input;
  const warnings: string[] = [];
  const target = selectRemote(input, warnings);
  const values = new Map(target.values);
  for (const [name, value] of await readEntries(input)) values.set(name, value);
  const changed = applyMapping(values, config.mapping);
  const overridden = new Map([...config.override]);
  const unset = new Set(config.unset.map((name) => name.toUpperCase()));
  const kept = new Map<string, string>();
  for (const [name, value] of Object.entries(local)) {
    if (value !== undefined && !target.unusable.has(name)) kept.set(name, value);
  }
  for (const [name, value] of [...changed, ...overridden]) kept.set(name, value);
  for (const name of [...kept.keys()]) {
    if (unset.has(name.toUpperCase())) kept.delete(name);
  }
  const isTargets = (name: string) => kept.get(name) === target.values.get(name) && !overridden.has(name);
  return { env: Object.fromEntries(kept), fromTarget: [...target.values.keys()].filter(isTargets), warnings };
}

/** Of the target's variables those that the rules let through. */
function selectRemote({ remote, config }: EnvironmentInput, warnings: string[]) {
  const isWanted = selection(config);
  const values = new Map<string, string>();
  /** Neither the target's value, which cannot be had, nor the local one, which would be taken for it. */
  const unusable = new Set<string>();
  for (const variable of remote) {
    const name = decode(variable.name);
    if (name === null) {
      warnings.push(`a variable of the target is left out: its name is not UTF-8 (${shown(variable.name)})`);
      continue;
    }
    if (name === '' || OURS.test(name) || !isWanted(name)) continue;
    const value = decode(variable.value);
    if (value !== null) {
      values.set(name, value);
      continue;
    }
    unusable.add(name);
    warnings.push(`the target's variable ${name} is left out: its value is not UTF-8; feature.env.override can set it`);
  }
  for (const name of unusable) values.delete(name);
  return { values, unusable };
}

/**
 * By include, exclude and the default exclusions. An include that names or describes a variable brings it back from the
 * default exclusions; the bare `*`, which is what holds without any include, does not.
 */
function selection({ include, exclude }: Config['feature']['env']): (name: string) => boolean {
  const included = include?.map(wildcard) ?? null;
  const excluded = exclude?.map(wildcard) ?? [];
  const bringsBack = (include ?? []).filter((one) => one !== '*').map(wildcard);
  return (name) => {
    if (EXCLUDED_BY_DEFAULT.has(name)) return bringsBack.some((pattern) => pattern.test(name));
    if (included !== null && !included.some((pattern) => pattern.test(name))) return false;
    return !excluded.some((pattern) => pattern.test(name));
  };
}

/** `*` and `?` over the whole name. */
function wildcard(text: string): RegExp {
  const source = text.replaceAll(/[\\^$.*+?()[\]{}|/]+?/g, (char) =>
    char === '*' ? '[^]*' : char === '?' ? '[^]' : `\\${char}`,
  );
  return new RegExp(`^${source}$`, 'u');
}

async function readEntries({ config, local, readEnvFile }: EnvironmentInput): Promise<(readonly [string, string])[]> {
  if (config.env_file === null || readEnvFile === undefined) return [];
  const place = `feature.env.env_file: ${config.env_file}`;
  let text: string;
  try {
    text = await readEnvFile(config.env_file);
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'it cannot be read';
    throw new AppError('CONFIG_INVALID', `${place}: ${reason === 'ENOENT' ? 'there is no such file' : reason}`, {
      cause: error,
    });
  }
  const entries = parseDotenv(text, local);
  if ('badLine' in entries) {
    throw new AppError('CONFIG_INVALID', `${place}, line ${entries.badLine}: ${entries.reason}`);
  }
  return entries.ok;
}

/** The value of a name is that of the first pattern that matches it. */
function applyMapping(values: ReadonlyMap<string, string>, mapping: Config['feature']['env']['mapping']) {
  const patterns = mapping.flatMap(([text, value]) => {
    const compiled = compilePattern(text, { foldsCase: false });
    return 'ok' in compiled ? [{ regex: compiled.ok.regex, value }] : [];
  });
  return [...values].map(([name, value]) => {
    const first = patterns.find(({ regex }) => regex.test(name));
    return [name, first === undefined ? value : first.value] as const;
  });
}

/** null for what is not UTF-8: it would not survive a string. */
function decode(bytes: Uint8Array): string | null {
  return isUtf8(bytes) ? Buffer.from(bytes).toString() : null;
}

function shown(bytes: Uint8Array): string {
  return JSON.stringify(Buffer.from(bytes).toString('latin1').slice(0, 80));
}
