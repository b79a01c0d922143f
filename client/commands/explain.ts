// `mirrord explain PATH|HOST:PORT...`: where a path would be read and written, or a connection go, and by which rule, as
// `mirrord exec` from the same folder with the same configuration would have it. Asks nobody: no agent is needed.

import { tmpdir } from 'node:os';
import { AppError } from '#proto/errors.ts';
import type { ParsedArguments } from '../arguments.ts';
import { type Decision, FileRules } from '../file-rules.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';
import { addressToText, explainAddress, faultOfWord, isAddress } from './explain-address.ts';

interface Explanation {
  path: string;
  read: Decision;
  write: Decision;
}

export async function explain(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const { loadConfig } = await import('../config/load.ts');
  if (args.words.length === 0)
    throw new AppError('CONFIG_INVALID', 'a path is missing: mirrord explain PATH, or HOST:PORT');
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
  const fault = args.words
    .filter((word) => !isAddress(word))
    .map(faultOfWord)
    .find((one) => one !== null);
  if (fault !== undefined) throw new AppError('CONFIG_INVALID', fault);
  const explained = args.words.map((word) =>
    isAddress(word)
      ? explainAddress(word, config)
      : { path: word, read: rules.decide(word, false), write: rules.decide(word, true) },
  );
  const isWriteOnly = args.flags['write'] !== undefined;
  if (args.flags['json'] !== undefined) terminal.out(`${JSON.stringify(explained, null, 2)}\n`);
  else {
    for (const one of explained) terminal.out('address' in one ? addressToText(one) : toText(one, isWriteOnly));
  }
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
