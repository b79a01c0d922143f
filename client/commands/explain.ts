// `mirrord explain PATH...`: where a path would be read and written, and by which rule, as `mirrord exec` from the same
// folder with the same configuration would have it. Asks nobody: no agent is needed.

import { tmpdir } from 'node:os';
import { AppError } from '#proto/errors.ts';
import type { ParsedArguments } from '../arguments.ts';
import { type Decision, FileRules } from '../file-rules.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';

interface Explanation {
  path: string;
  read: Decision;
  write: Decision;
}

export async function explain(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const { loadConfig } = await import('../config/load.ts');
  if (args.words.length === 0) throw new AppError('CONFIG_INVALID', 'a path is missing: mirrord explain PATH');
  const configFile = args.flags['config-file'];
  const { config, warnings } = await loadConfig({
    flags: args.overrides,
    configFile: typeof configFile === 'string' ? configFile : undefined,
    env: terminal.env,
    cwd: terminal.cwd,
  });
  for (const warning of warnings) terminal.err(`warning: ${warning}\n`);
  const rules = FileRules.compile(config.feature.fs, {
    home: terminal.env['HOME'] ?? '',
    cwd: terminal.cwd,
    tmp: terminal.env['TMPDIR'] || tmpdir(),
    executable: '',
  });
  const explained = args.words.map((path) => ({
    path,
    read: rules.decide(path, false),
    write: rules.decide(path, true),
  }));
  if (args.flags['json'] !== undefined) terminal.out(`${JSON.stringify(explained, null, 2)}\n`);
  else for (const one of explained) terminal.out(toText(one, args.flags['write'] !== undefined));
  return exit(0);
}

function toText({ path, read, write }: Explanation, isWriteOnly: boolean): string {
  const lines = [...(isWriteOnly ? [] : [`  read   ${toWords(path, read)}`]), `  write  ${toWords(path, write)}`];
  return `${path}\n${lines.join('\n')}\n`;
}

const WHERE = { local: 'here', remote: 'in the target', 'not-found': 'nowhere (ENOENT)' } as const;

function toWords(path: string, decision: Decision): string {
  const as = decision.path === path ? '' : ` as ${decision.path}`;
  return `${WHERE[decision.where]}${as}: ${decision.rule}`;
}
