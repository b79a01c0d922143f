// What every command about a cluster begins with: its configuration, and the API that it leads to.

import { isatty } from 'node:tty';
import type { ParsedArguments } from '../arguments.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema/root.ts';
import type { KubeApi } from '../kube/api.ts';
import { openKubeApi } from '../kube/open.ts';
import { printable } from '../printable.ts';
import type { Terminal } from '../terminal.ts';

export async function openCluster(
  args: ParsedArguments,
  terminal: Terminal,
  isInteractive = isatty(0),
): Promise<{ api: KubeApi; config: Config }> {
  const configFile = args.flags['config-file'];
  const { config, warnings } = await loadConfig({
    flags: args.overrides,
    ...(typeof configFile === 'string' ? { configFile } : {}),
    env: terminal.env,
    cwd: terminal.cwd,
  });
  for (const warning of warnings) terminal.err(printable(`mirrord: ${warning}\n`));
  return { api: await openKubeApi({ config, env: terminal.env, isInteractive }), config };
}
