// Help, made from the same tables as the parser: a flag that is parsed is listed, one that is not built is not. Pure.

import { type CommandRow, type FlagRow, SHOWN_COMMANDS } from './arguments.ts';

export function overview(version: string): string {
  const rows = SHOWN_COMMANDS.map(({ name, help }) => `  ${name.padEnd(16)}${help}`);
  return [
    `mirrord ${version}: run a local process in the context of a target`,
    '',
    'usage: mirrord COMMAND [FLAGS] ...',
    '',
    ...rows,
    '',
    '`mirrord COMMAND --help` lists the flags of a command.',
    '',
  ].join('\n');
}

export function commandHelp(command: CommandRow): string {
  const rows = command.flags.map(flagLine);
  return [`usage: mirrord ${command.usage}`, '', `  ${command.help}`, '', ...rows, ''].join('\n');
}

function flagLine(row: FlagRow): string {
  const short = row.short === undefined ? '    ' : `-${row.short}, `;
  const value = row.value === 'none' ? '' : row.value === 'required' ? ` ${row.shows}` : ` [${row.shows}]`;
  return `  ${short}${`--${row.name}${value}`.padEnd(34)}  ${row.help}`;
}
