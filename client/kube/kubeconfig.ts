// Kubeconfig files, read by the Kubernetes library and merged as kubectl merges them: the first file that names a cluster, a user,
// a context or the current context wins, where the library refuses a second. Paths in a file are relative to that file.

import { statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { type Cluster, type Context, KubeConfig, type User } from '@kubernetes/client-node';
import { AppError } from '#proto/errors.ts';

/** Certificates of many clusters fit; a file that was named by mistake does not. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

export type Fields = Readonly<Record<string, unknown>>;

/** What the library leaves out of an entry: a token file, most of impersonation, and what a cluster keeps for plugins. */
const LEFT_OUT = /tokenFile|as-uid|as-groups|as-user-extra|extensions/;

export interface Kubeconfig {
  readonly kube: KubeConfig;
  /** That were there, in their order. */
  readonly files: readonly string[];
  /** Where an entry stands. */
  fileOf(entry: Cluster | User | Context): string;
  /** Its fields that the library leaves out; others may be there. */
  moreOf(entry: Cluster | User): Fields;
}

/**
 * Files of a list that are missing are passed over, as kubectl does, unless all are: null then. Throws CONFIG_INVALID for
 * a file that cannot be read or is no kubeconfig. An entry that says too little is not there.
 */
export async function readKubeconfig(files: readonly string[]): Promise<Kubeconfig | null> {
  const kube = new KubeConfig();
  const origins = new Map<object, { readonly file: string; readonly more: Fields }>();
  const found: string[] = [];
  for (const file of files) {
    const text = await readText(file);
    if (text === null) continue;
    found.push(file);
    const one = parse(text, file);
    const more = LEFT_OUT.test(text) ? await entriesOf(text) : { clusters: new Map(), users: new Map() };
    const known = (list: readonly { name: string }[]) => new Set(list.map(({ name }) => name));
    const [clusters, users, contexts] = [known(kube.clusters), known(kube.users), known(kube.contexts)];
    one.clusters = firsts(one.clusters, clusters);
    one.users = firsts(one.users, users);
    one.contexts = firsts(one.contexts, contexts);
    for (const entry of one.clusters) origins.set(entry, { file, more: more.clusters.get(entry.name) ?? {} });
    for (const entry of one.users) origins.set(entry, { file, more: more.users.get(entry.name) ?? {} });
    for (const entry of one.contexts) origins.set(entry, { file, more: {} });
    kube.mergeConfig(one, Boolean(kube.currentContext));
  }
  if (found.length === 0) return null;
  return {
    kube,
    files: found,
    fileOf: (entry) => origins.get(entry)?.file ?? found.join(':'),
    moreOf: (entry) => origins.get(entry)?.more ?? {},
  };
}

/** The first of each name that is not known yet. */
function firsts<Entry extends { readonly name: string }>(list: readonly Entry[], known: Set<string>): Entry[] {
  return list.filter(({ name }) => {
    if (known.has(name)) return false;
    known.add(name);
    return true;
  });
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

function parse(text: string, file: string): KubeConfig {
  const kube = new KubeConfig();
  if (text.trim() === '') return kube;
  try {
    kube.loadFromString(text, { onInvalidEntry: 'filter' });
    kube.makePathsAbsolute(path.dirname(file));
  } catch (error) {
    // Only the place: the lines around it may hold a token.
    const { mark } = Object(error) as { mark?: { line?: number } };
    const what = mark === undefined ? 'it is no kubeconfig' : `it is no YAML (line ${(mark.line ?? 0) + 1})`;
    throw fault(file, what);
  }
  return kube;
}

/** Of a text that the library has read. */
async function entriesOf(text: string): Promise<Record<'clusters' | 'users', Map<unknown, Fields>>> {
  const read = text.trimStart().startsWith('{') ? JSON.parse : (await import('./parse-yaml.ts')).parseYaml;
  const { clusters, users } = Object(read(text)) as Fields;
  const map = (list: unknown, inner: string) => {
    const items: readonly unknown[] = Array.isArray(list) ? list.toReversed() : [];
    return new Map(items.map((item) => [Object(item).name as unknown, Object(Object(item)[inner]) as Fields]));
  };
  return { clusters: map(clusters, 'cluster'), users: map(users, 'user') };
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** null for what is not set or empty; throws for another type, which it names without showing the value. */
export function optionalText(fields: object, name: string, place: string): string | null {
  const value = (fields as Fields)[name];
  if (value === undefined || value === null || value === '') return null;
  if (typeof value !== 'string') throw fault(place, `${name} is no text`);
  return value;
}

export function isTrue(fields: Fields, name: string): boolean {
  return fields[name] === true || fields[name] === 'true';
}

/** Throws for a file that could not be read whole. */
export function requireFile(file: string | undefined, what: string, place: string): void {
  if (file === undefined || file === null) return;
  try {
    if (statSync(file).size > MAX_FILE_BYTES) throw new Error(`it has more than ${MAX_FILE_BYTES} bytes`);
  } catch (error) {
    const why = Object(error).code === 'ENOENT' ? 'there is no such file' : String(Object(error).message);
    throw fault(place, `${what} ${file}: ${why}`, error);
  }
}

export function fault(place: string, what: string, cause?: unknown): AppError {
  const advice = '`kubectl config view` shows what kubectl makes of it; name another file with KUBECONFIG.';
  return new AppError('CONFIG_INVALID', `kubeconfig ${place}: ${what}`, { cause, data: { advice } });
}
