// The way from `-f FILE`, flags and variables to one frozen configuration. Reports every fault at once.

import { readFile } from 'node:fs/promises';
import { extname, resolve as resolvePath } from 'node:path';
import { AppError } from '#proto/errors.ts';
import { verify } from './conflicts.ts';
import { type ConfigText, type Document, EMPTY_DOCUMENT, type Format, hasTemplate, parseDocument } from './document.ts';
import { chooseKey, type SessionKey } from './key.ts';
import { type Overrides, resolve, type Source } from './resolve.ts';
import { rewrite } from './rewrite.ts';
import type { Config } from './schema/root.ts';

export type { Config } from './schema/root.ts';

export interface LoadInput {
  /** Values of command line flags under the name of the variable that each stands for: `MIRRORD_FILE_MODE`. */
  flags: Overrides;
  /** `-` reads standard input as JSON. Without it, the variable MIRRORD_CONFIG_FILE counts. */
  configFile?: string | undefined;
  env: NodeJS.ProcessEnv;
  cwd: string;
  /** In place of standard input. */
  readStdin?: () => Promise<string>;
}

export interface Loaded {
  config: Config;
  warnings: string[];
  /** Where each key that somebody set was set, by its dotted path. */
  sources: ReadonlyMap<string, Source>;
}

/** More is no configuration, and templates and parsers work in memory. */
const MAX_BYTES = 1 << 20;
const FORMATS: Readonly<Record<string, Format>> = {
  '': 'json',
  '.json': 'json',
  '.toml': 'toml',
  '.yaml': 'yaml',
  '.yml': 'yaml',
};

/** Throws CONFIG_INVALID with all faults, also as `data.faults`. */
export async function loadConfig(input: LoadInput): Promise<Loaded> {
  const file = input.configFile ?? (input.env['MIRRORD_CONFIG_FILE'] || undefined);
  const name = file === undefined ? 'the flags and variables' : file === '-' ? 'standard input' : file;
  try {
    const source = file === undefined ? null : await readSource(file, input);
    const key = await chooseKey(source, input);
    const document = source === null ? EMPTY_DOCUMENT : await renderAndParse(source, key, input);
    const resolution = resolve({ document, flags: input.flags, env: input.env });
    rewrite(resolution, { key, env: input.env, document });
    verify(resolution);
    if (hasFilter(resolution.config)) {
      const { filterFaults } = await import('./filter-faults.ts');
      resolution.faults.push(...filterFaults(resolution));
    }
    if (resolution.faults.length > 0) throw invalid(name, resolution.faults);
    freeze(resolution.config);
    const { config, warnings, sources } = resolution;
    return { config, warnings, sources };
  } catch (error) {
    if (error instanceof AppError && error.data?.['faults'] !== undefined) throw error;
    const fault = AppError.from(error, 'CONFIG_INVALID');
    throw invalid(name, [fault.message], fault);
  }
}

/** Of requests: the code that reads them is a quarter of a megabyte, and most configurations have none. */
function hasFilter({ feature }: Config): boolean {
  const { ports: _ports, ...filters } = feature.network.incoming.http_filter;
  return Object.values(filters).some((one) => one !== null);
}

async function readSource(file: string, input: LoadInput): Promise<ConfigText> {
  if (file === '-') return { text: limited(await (input.readStdin ?? readStdin)()), format: 'json' };
  const format = FORMATS[extname(file).toLowerCase()];
  if (format === undefined) {
    throw new AppError('CONFIG_INVALID', `the ending ${extname(file)} is not known; use .json, .toml, .yaml or .yml`);
  }
  try {
    return { text: limited(await readFile(resolvePath(input.cwd, file), 'utf8')), format };
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('CONFIG_INVALID', `cannot read it: ${reasonOf(error)}`, { cause: error });
  }
}

async function readStdin(): Promise<string> {
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text = limited(text + chunk);
  return text;
}

function limited(text: string): string {
  if (text.length <= MAX_BYTES) return text.replace(/^\uFEFF/, '');
  throw new AppError('CONFIG_INVALID', `it is longer than ${MAX_BYTES} characters`);
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const known: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EISDIR: 'it is a directory',
    EACCES: 'permission denied',
  };
  return known[code] ?? (error instanceof Error ? error.message : String(error));
}

async function renderAndParse(source: ConfigText, key: SessionKey, input: LoadInput): Promise<Document> {
  let { text } = source;
  if (hasTemplate(text)) {
    const { render } = await import('./template.ts');
    text = await render(text, { key: key.value, env: input.env, cwd: input.cwd });
  }
  return parseDocument(text, source.format);
}

function invalid(name: string, faults: readonly string[], cause?: unknown): AppError {
  const list =
    faults.length === 1 ? ` ${faults[0]}` : faults.map((fault) => `\n  ${fault.replaceAll('\n', '\n  ')}`).join('');
  const head =
    faults.length === 1
      ? `invalid configuration in ${name}:`
      : `${faults.length} faults in the configuration in ${name}:`;
  return new AppError('CONFIG_INVALID', `${head}${list}`, {
    data: { faults },
    ...(cause === undefined ? {} : { cause }),
  });
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  Object.freeze(value);
  for (const one of Object.values(value)) freeze(one);
}
