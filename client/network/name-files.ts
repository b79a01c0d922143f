// The files by which programs learn how to look up names, as they have to be while names are looked up in the target:
// glibc asks hosts and DNS only (no mDNS, no resolved, no myhostname of this machine), and the target's resolv.conf and hosts, as
// they came with the session, are read here: a resolver looks at both for every name. Written for one run, and removed after it.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TargetFacts } from '#proto/gen/v1/session.ts';
import type { NameFile } from '../file-rules.ts';
import { makeRuntimeFolder, removeRuntimeFolder } from '../runtime-folder.ts';

export interface NameFiles {
  readonly files: readonly NameFile[];
  remove(): void;
}

/** How resolvers shall ask, where it is not as the target's own do. */
export interface Lookups {
  /** In seconds. */
  readonly timeout: number | null;
  readonly attempts: number | null;
}

const NSSWITCH = '/etc/nsswitch.conf';
const HOSTS_LINE = 'hosts: files dns';

/** In `runFolder`, which somebody else removes, or in one of its own. */
export function writeNameFiles(
  runFolder: string | null,
  env: NodeJS.ProcessEnv,
  facts: Pick<TargetFacts, 'resolvConf' | 'hosts'>,
  isCopied: (path: string) => boolean,
  lookups: Lookups = { timeout: null, attempts: null },
): NameFiles {
  const folder = runFolder ?? makeRuntimeFolder(env);
  const files: NameFile[] = [];
  const write = (path: string, name: string, content: string | Uint8Array) => {
    const instead = join(folder, name);
    writeFileSync(instead, content, { mode: 0o600 });
    files.push({ path, instead });
  };
  write(NSSWITCH, 'nsswitch.conf', toNsswitch(ownNsswitch()));
  for (const [path, content] of [
    ['/etc/resolv.conf', withOptions(facts.resolvConf, lookups)],
    ['/etc/hosts', facts.hosts],
  ] as const) {
    if (content.length > 0 && isCopied(path)) write(path, path.slice('/etc/'.length), content);
  }
  return { files, remove: () => (runFolder === null ? removeRuntimeFolder(folder) : undefined) };
}

function ownNsswitch(): string {
  try {
    return readFileSync(NSSWITCH, 'utf8');
  } catch {
    return '';
  }
}

/** The last word of resolv.conf(5) on an option holds. */
export function withOptions(resolvConf: Uint8Array, { timeout, attempts }: Lookups): Uint8Array {
  const options = [
    ...(timeout === null ? [] : [`timeout:${timeout}`]),
    ...(attempts === null ? [] : [`attempts:${attempts}`]),
  ];
  if (options.length === 0 || resolvConf.length === 0) return resolvConf;
  return Buffer.concat([resolvConf, Buffer.from(`\noptions ${options.join(' ')}\n`)]);
}

/** This machine's, but for hosts: users and groups are found as before. */
export function toNsswitch(text: string): string {
  const isHosts = /^[ \t]*hosts[ \t]*:.*$/m;
  if (isHosts.test(text)) return text.replace(isHosts, HOSTS_LINE);
  return text === '' || text.endsWith('\n') ? `${text}${HOSTS_LINE}\n` : `${text}\n${HOSTS_LINE}\n`;
}
