// `mirrord complete WHAT PREFIX -- WORDS`: what the shell may offer for the word under the cursor, a line each. Asked by the
// scripts of completions.ts at every Tab: silent about every failure, and given up after two seconds.

import { type ParsedArguments, parseArguments } from '../arguments.ts';
import { CLUSTER_COMMANDS } from '../cluster-commands.ts';
import type { KubeApi } from '../kube/api.ts';
import { contextNames } from '../kube/config.ts';
import { findKind, KINDS, kindRow, objectPath } from '../kube/kinds.ts';
import { namesWithPrefix } from '../kube/names.ts';
import type { Pod } from '../kube/objects.ts';
import { isStatus } from '../kube/status.ts';
import { printable } from '../printable.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';

/** `MIRRORD_COMPLETION_DEADLINE_MS` for clusters that are slow. */
const DEADLINE_MS = 2_000;
/** A shell shows no more than a screen. */
const MAX_OFFERS = 200;

export async function complete({ words }: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const [what = '', prefix = '', , ...typed] = words;
  try {
    const offers = await offersFor(what, prefix, typed, terminal);
    const fitting = offers.filter((offer) => offer.startsWith(prefix)).slice(0, MAX_OFFERS);
    terminal.out(fitting.map((offer) => printable(`${offer}\n`)).join(''));
  } catch {
    // A Tab that cannot be answered offers nothing; the command itself will say why.
  }
  return exit(0);
}

async function offersFor(
  what: string,
  prefix: string,
  typed: readonly string[],
  terminal: Terminal,
): Promise<readonly string[]> {
  switch (what) {
    case 'kind':
      return KINDS.map(({ kind }) => kind);
    case 'target':
      if (!prefix.includes('/')) return targetWords(prefix);
      return askCluster(typed, terminal, (api, namespace) => targets(api, namespace, prefix));
    case 'namespace':
      return askCluster(typed, terminal, (api) => namesWithPrefix(api, '/api/v1/namespaces', prefix, MAX_OFFERS));
    case 'context':
      return contexts(typed, terminal);
    default:
      return [];
  }
}

/** The long words, and the short ones only for who has begun one. */
function targetWords(prefix: string): string[] {
  const long = ['pid/', 'container/', ...KINDS.map(({ kind }) => `${kind}/`)];
  const short = KINDS.flatMap(({ aliases }) => aliases.map((alias) => `${alias}/`));
  const isOffered = long.some((word) => word.startsWith(prefix));
  return isOffered ? long : short;
}

async function targets(api: KubeApi, namespace: string, prefix: string): Promise<readonly string[]> {
  const [word = '', name = '', ...rest] = prefix.split('/');
  const kind = findKind(word)?.kind;
  if (kind === undefined) return [];
  const { group, versions, resource } = kindRow(kind);
  if (rest.length === 0) {
    const pathOf = (version: string) => objectPath({ group, version, resource, namespace });
    const names = await ofNewest(versions, (version) => namesWithPrefix(api, pathOf(version), name, MAX_OFFERS));
    return names.map((found) => `${word}/${found}`);
  }
  if (kind !== 'pod') return [];
  const [version = 'v1'] = versions;
  const pod = await api.get<Pod>(objectPath({ group, version, resource, namespace, name }));
  return (pod.spec?.containers ?? []).map((container) => `${word}/${name}/container/${container.name}`);
}

/** Of the first version that the server has. */
async function ofNewest<T>(versions: readonly string[], ask: (version: string) => Promise<T>): Promise<T> {
  const [version = '', ...older] = versions;
  return ask(version).catch((error: unknown) => {
    if (older.length > 0 && isStatus(error, 404) && error.isOfUnknownApi) return ofNewest(older, ask);
    throw error;
  });
}

/** With the namespace, context and configuration that have been typed already. */
async function askCluster(
  typed: readonly string[],
  terminal: Terminal,
  ask: (api: KubeApi, namespace: string) => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const { openCluster } = await import('./cluster.ts');
  const { api, config } = await openCluster(typedFlags(typed), { ...terminal, err: () => {} }, false);
  const deadlineMs = Number(terminal.env['MIRRORD_COMPLETION_DEADLINE_MS']) || DEADLINE_MS;
  const timer = setTimeout(() => void api.close(), deadlineMs);
  try {
    return await ask(api, config.target.namespace ?? api.access.namespace);
  } finally {
    clearTimeout(timer);
    await api.close();
  }
}

async function contexts(typed: readonly string[], terminal: Terminal): Promise<readonly string[]> {
  const { flags, overrides } = typedFlags(typed);
  const { loadConfig } = await import('../config/load.ts');
  const configFile = flags['config-file'];
  const { config } = await loadConfig({
    flags: overrides,
    ...(typeof configFile === 'string' ? { configFile } : {}),
    env: terminal.env,
    cwd: terminal.cwd,
  });
  return contextNames({ kubeconfig: config.kubeconfig, env: terminal.env });
}

/** Of the words typed so far only what leads to a cluster; the rest may be unfinished. */
function typedFlags(typed: readonly string[]): ParsedArguments {
  const [row] = CLUSTER_COMMANDS;
  const found: string[] = [];
  const wanted = /^(?:-n|-f|--namespace|--target-namespace|--context|--config-file)$/;
  // A shell of its own cuts `--flag=value` into three words.
  const parts = typed
    .flatMap((word) => (word.startsWith('--') ? word.split(/=(.*)/s, 2) : [word]))
    .filter((word) => word !== '=');
  for (const [at, word] of parts.entries()) {
    const value = parts[at + 1];
    if (word === '--') break;
    if (!wanted.test(word) || value === undefined || value === '' || value.startsWith('-')) continue;
    found.push(word === '--target-namespace' ? '--namespace' : word, value);
  }
  const once = new Map<string, string>();
  for (let at = 0; at < found.length; at += 2) once.set(found[at] ?? '', found[at + 1] ?? '');
  const args = [...once].flatMap(([name, value]) => (name.startsWith('--') ? [`${name}=${value}`] : [name, value]));
  return row === undefined ? { flags: {}, overrides: {}, words: [] } : parseArguments(row, args);
}
