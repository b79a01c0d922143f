// The files by which programs learn how to look up names, as they have to be while names are looked up in the target:
// glibc asks hosts and DNS only (no mDNS, no resolved, no myhostname of this machine), and where no file is the target's, its
// resolv.conf and hosts are put in place. Written for one run, and removed after it.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TargetFacts } from '#proto/gen/v1/session.ts';
import type { NameFile } from '../file-rules.ts';
import { makeRuntimeFolder, removeRuntimeFolder } from '../runtime-folder.ts';

export interface NameFiles {
  readonly files: readonly NameFile[];
  remove(): Promise<void>;
}

const NSSWITCH = '/etc/nsswitch.conf';
const HOSTS_LINE = 'hosts: files dns';

/** In `runFolder`, which somebody else removes, or in one of its own. */
export async function writeNameFiles(
  runFolder: string | null,
  env: NodeJS.ProcessEnv,
  facts: Pick<TargetFacts, 'resolvConf' | 'hosts'>,
  mode: string,
): Promise<NameFiles> {
  const folder = runFolder ?? (await makeRuntimeFolder(env));
  const files: NameFile[] = [];
  const write = async (path: string, name: string, content: string | Uint8Array) => {
    const instead = join(folder, name);
    await writeFile(instead, content, { mode: 0o600 });
    files.push({ path, instead });
  };
  await write(NSSWITCH, 'nsswitch.conf', toNsswitch(await readFile(NSSWITCH, 'utf8').catch(() => '')));
  const areFilesLocal = mode === 'local';
  if (areFilesLocal && facts.resolvConf.length > 0) await write('/etc/resolv.conf', 'resolv.conf', facts.resolvConf);
  if (areFilesLocal && facts.hosts.length > 0) await write('/etc/hosts', 'hosts', facts.hosts);
  return { files, remove: async () => (runFolder === null ? removeRuntimeFolder(folder) : undefined) };
}

/** This machine's, but for hosts: users and groups are found as before. */
export function toNsswitch(text: string): string {
  const isHosts = /^[ \t]*hosts[ \t]*:.*$/m;
  if (isHosts.test(text)) return text.replace(isHosts, HOSTS_LINE);
  return text === '' || text.endsWith('\n') ? `${text}${HOSTS_LINE}\n` : `${text}\n${HOSTS_LINE}\n`;
}
