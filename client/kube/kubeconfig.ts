// Kubeconfig files as text to one merged whole, as kubectl merges them: the first file that names a cluster, a user, a
// context or the current context wins. Paths inside a file are relative to that file. Pure but for reading.

import { readFileSync, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { AppError } from '#proto/errors.ts';

/** Certificates of many clusters fit; a file that was named by mistake does not. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

export type Fields = Readonly<Record<string, unknown>>;

/** One named entry, and where it stands: paths in it are relative to that file's folder. */
export interface Entry {
  readonly name: string;
  readonly fields: Fields;
  readonly file: string;
}

export interface Kubeconfig {
  readonly currentContext: string | null;
  readonly clusters: ReadonlyMap<string, Entry>;
  readonly users: ReadonlyMap<string, Entry>;
  readonly contexts: ReadonlyMap<string, Entry>;
  /** That were there, in their order. */
  readonly files: readonly string[];
}

/**
 * Files of a list that are missing are passed over, as kubectl does, unless all are: null then. Throws CONFIG_INVALID for
 * a file that cannot be read or is no kubeconfig.
 */
export async function readKubeconfig(files: readonly string[]): Promise<Kubeconfig | null> {
  const found: { file: string; fields: Fields }[] = [];
  for (const file of files) {
    const text = await readText(file);
    if (text !== null) found.push({ file, fields: await parse(text, file) });
  }
  return found.length === 0 ? null : merge(found);
}

async function readText(file: string): Promise<string | null> {
  try {
    const { size } = await stat(file);
    if (size > MAX_FILE_BYTES) throw fault(file, `it has ${size} bytes, more than ${MAX_FILE_BYTES}`);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof AppError) throw error;
    const { code } = Object(error) as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    const why = code === 'EACCES' ? 'this user may not read it' : String(Object(error).message);
    throw fault(file, why, error);
  }
}

/** JSON is YAML, and read many times faster. */
async function parse(text: string, file: string): Promise<Fields> {
  if (text.trim() === '') return {};
  const read = text.trimStart().startsWith('{') ? JSON.parse : (await import('./parse-yaml.ts')).parseYaml;
  let value: unknown;
  try {
    value = read(text);
  } catch (error) {
    // Only the place: the lines around it may hold a token.
    const { line } = Object(Object(error).linePos?.[0]) as { line?: number };
    throw fault(file, `it is no YAML${line === undefined ? '' : ` (line ${line})`}`);
  }
  if (!isFields(value)) throw fault(file, 'it is no map');
  return value;
}

function merge(found: readonly { file: string; fields: Fields }[]): Kubeconfig {
  const merged = {
    clusters: new Map<string, Entry>(),
    users: new Map<string, Entry>(),
    contexts: new Map<string, Entry>(),
  };
  let currentContext: string | null = null;
  for (const { file, fields } of found) {
    currentContext ||= optionalText(fields, 'current-context', file);
    for (const [list, inner] of [
      ['clusters', 'cluster'],
      ['users', 'user'],
      ['contexts', 'context'],
    ] as const) {
      for (const entry of entriesOf(fields[list], inner, `${list} of ${file}`, file)) {
        if (!merged[list].has(entry.name)) merged[list].set(entry.name, entry);
      }
    }
  }
  return { ...merged, currentContext: currentContext || null, files: found.map(({ file }) => file) };
}

function entriesOf(list: unknown, inner: string, place: string, file: string): Entry[] {
  if (list === undefined || list === null) return [];
  if (!Array.isArray(list)) throw fault(file, `${place} is no list`);
  return list.map((item: unknown) => {
    if (!isFields(item) || typeof item['name'] !== 'string') throw fault(file, `an entry without a name in ${place}`);
    const fields = item[inner] ?? {};
    if (!isFields(fields)) throw fault(file, `${inner} ${JSON.stringify(item['name'])} is no map`);
    return { name: item['name'], fields, file };
  });
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** null for what is not set or empty; throws for another type, which it names without showing the value. */
export function optionalText(fields: Fields, name: string, place: string): string | null {
  const value = fields[name];
  if (value === undefined || value === null || value === '') return null;
  if (typeof value !== 'string') throw fault(place, `${name} is no text`);
  return value;
}

export function isTrue(fields: Fields, name: string): boolean {
  return fields[name] === true || fields[name] === 'true';
}

/** A path in an entry, from the folder of its file. */
export function optionalPath(entry: Entry, name: string): string | null {
  const value = optionalText(entry.fields, name, entry.file);
  return value === null ? null : path.resolve(path.dirname(entry.file), value);
}

/** `NAME-data` in base64 wins over the file `NAME`; null where there is neither. */
export function dataOrFile(entry: Entry, name: string): Buffer | null {
  const data = optionalText(entry.fields, `${name}-data`, entry.file);
  if (data !== null) return Buffer.from(data, 'base64');
  const file = optionalPath(entry, name);
  if (file === null) return null;
  try {
    if (statSync(file).size > MAX_FILE_BYTES) throw new Error(`it has more than ${MAX_FILE_BYTES} bytes`);
    return readFileSync(file);
  } catch (error) {
    const why = Object(error).code === 'ENOENT' ? 'there is no such file' : String(Object(error).message);
    throw fault(entry.file, `${name} ${file} of ${JSON.stringify(entry.name)}: ${why}`, error);
  }
}

export function fault(place: string, what: string, cause?: unknown): AppError {
  const advice = '`kubectl config view` shows what kubectl makes of it; name another file with KUBECONFIG.';
  return new AppError('CONFIG_INVALID', `kubeconfig ${place}: ${what}`, { cause, data: { advice } });
}
