// Completion scripts, made from the tables of arguments.ts. Pure.

import { AppError } from '#proto/errors.ts';
import { SHOWN_COMMANDS as BUILT } from './arguments.ts';

/** Throws CONFIG_INVALID for a shell we have no script for. */
export function completionScript(shell: string): string {
  if (shell === 'bash') return bash();
  if (shell === 'zsh') return zsh();
  if (shell === 'fish') return fish();
  throw new AppError(
    'CONFIG_INVALID',
    `no completions for ${JSON.stringify(shell)}; there are some for bash, zsh, fish`,
  );
}

function flagsOf(command: (typeof BUILT)[number]): string[] {
  return command.flags.filter(({ missing }) => missing === undefined).map(({ name }) => `--${name}`);
}

function bash(): string {
  const cases = BUILT.map((command) => `    ${command.name}) words="${flagsOf(command).join(' ')}" ;;`);
  return `_mirrord() {
  local current=\${COMP_WORDS[COMP_CWORD]} words="${BUILT.map(({ name }) => name).join(' ')}"
  if ((COMP_CWORD > 1)); then
    case \${COMP_WORDS[1]} in
${cases.join('\n')}
    esac
    [[ $current == -* ]] || { COMPREPLY=(); compopt -o default; return; }
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _mirrord mirrord
`;
}

function zsh(): string {
  const cases = BUILT.map((command) => `    ${command.name}) compadd -- ${flagsOf(command).join(' ')}; _files ;;`);
  return `#compdef mirrord
_mirrord() {
  if ((CURRENT == 2)); then compadd -- ${BUILT.map(({ name }) => name).join(' ')}; return; fi
  case $words[2] in
${cases.join('\n')}
  esac
}
_mirrord "$@"
`;
}

function fish(): string {
  const lines = BUILT.flatMap((command) => [
    `complete -c mirrord -n __fish_use_subcommand -a ${command.name} -d '${command.help}'`,
    ...flagsOf(command).map(
      (flag) => `complete -c mirrord -n '__fish_seen_subcommand_from ${command.name}' -l ${flag.slice(2)}`,
    ),
  ]);
  return `${lines.join('\n')}\n`;
}
