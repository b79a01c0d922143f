// Completion scripts, made from the tables of arguments.ts. For the values of some flags they ask `mirrord complete`, which
// asks the cluster. Pure.

import { AppError } from '#proto/errors.ts';
import { SHOWN_COMMANDS as BUILT, type CommandRow, type FlagRow } from './arguments.ts';

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

const NAMES = BUILT.map(({ name }) => name).join(' ');

function flagsOf(command: CommandRow): string {
  return command.flags.map(({ name }) => `--${name}`).join(' ');
}

/** Arms of a `case` over command and flag, to what its value is. */
function valueArms(indent: string): string {
  const arms = BUILT.flatMap((command) =>
    command.flags.flatMap(({ name, short, completes }) => {
      if (completes === undefined) return [];
      const flags = [`--${name}`, ...(short === undefined ? [] : [`-${short}`])];
      return [`${indent}${flags.map((flag) => `${command.name}:${flag}`).join('|')}) what=${completes} ;;`];
    }),
  );
  return arms.join('\n');
}

/** bash cuts `--flag=value` into three words. */
function bash(): string {
  const cases = BUILT.map((command) => `    ${command.name}) words="${flagsOf(command)}" ;;`);
  return `_mirrord() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous= what= words="${NAMES}"
  if ((COMP_CWORD > 1)); then
    previous=\${COMP_WORDS[COMP_CWORD-1]}
    [[ $current == = ]] && current=
    [[ $previous == = ]] && previous=\${COMP_WORDS[COMP_CWORD-2]}
    case \${COMP_WORDS[1]}:$previous in
${valueArms('      ')}
    esac
    if [[ -n $what ]]; then
      mapfile -t COMPREPLY < <(mirrord complete "$what" "$current" -- "\${COMP_WORDS[@]:2}" 2>/dev/null)
      [[ \${COMPREPLY[0]-} == */ ]] && compopt -o nospace
      return
    fi
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
  const cases = BUILT.map((command) => `    ${command.name}) compadd -- ${flagsOf(command)}; _files ;;`);
  return `#compdef mirrord
_mirrord() {
  if ((CURRENT == 2)); then compadd -- ${NAMES}; return; fi
  local what= previous=$words[CURRENT-1] current=$words[CURRENT]
  if [[ $current == --*=* ]]; then previous=\${current%%=*} current=\${current#*=}; compset -P '*='; fi
  case $words[2]:$previous in
${valueArms('    ')}
  esac
  if [[ -n $what ]]; then
    local -a offers=("\${(@f)$(mirrord complete $what "$current" -- "\${(@)words[3,-1]}" 2>/dev/null)}")
    compadd -S '' -- \${(M)offers:#*/}
    compadd -- \${offers:#(*/|)}
    return
  fi
  case $words[2] in
${cases.join('\n')}
  esac
}
if [[ $funcstack[1] == _mirrord ]]; then _mirrord "$@"; else compdef _mirrord mirrord; fi
`;
}

function fish(): string {
  const lines = BUILT.flatMap((command) => [
    `complete -c mirrord -n __fish_use_subcommand -a ${command.name} -d '${command.help}'`,
    ...command.flags.map((flag) => fishFlag(command.name, flag)),
  ]);
  return `function __mirrord_offers
  set -l current (commandline -ct)
  mirrord complete $argv[1] (string replace -r '^-[^=]*=' '' -- "$current") -- (commandline -opc)[3..-1] 2>/dev/null
end
${lines.join('\n')}
`;
}

function fishFlag(command: string, { name, short, completes }: FlagRow): string {
  const row = `complete -c mirrord -n '__fish_seen_subcommand_from ${command}' -l ${name}`;
  if (completes === undefined) return row;
  return `${row}${short === undefined ? '' : ` -s ${short}`} -x -a '(__mirrord_offers ${completes})'`;
}
