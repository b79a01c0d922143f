// `mirrord completions SHELL`: the script on stdout, to be read by the shell.

import { AppError } from '#proto/errors.ts';
import type { ParsedArguments } from '../arguments.ts';
import { completionScript } from '../completions.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';

export async function completions({ words }: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const [shell, ...rest] = words;
  if (shell === undefined || rest.length > 0) throw new AppError('CONFIG_INVALID', 'completions wants one shell');
  terminal.out(completionScript(shell));
  return exit(0);
}
