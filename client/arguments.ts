// The command line as data: every command and flag, what a flag overrides, and what is known but not built. Pure; what
// the words mean is for config and commands.

import { AppError } from '#proto/errors.ts';
import { CLUSTER_COMMANDS, CONFIG_FLAG, HELP_FLAG, TARGET_CLUSTER_FLAGS } from './cluster-commands.ts';

export type FlagValue = 'none' | 'required' | 'optional' | 'optional-with-equals';

export interface FlagRow {
  name: string;
  short?: string;
  value: FlagValue;
  /** What stands for the value in help. */
  shows?: string;
  /** Override of the configuration, as if this variable were set (behaviour of the environment: config/). */
  overrides?: string | readonly string[];
  /** What the variable is set to where the flag takes no value; else `true`. */
  means?: string;
  /** Of the value, to what the variable calls it. */
  spelling?: Readonly<Record<string, string>>;
  /** Given where the flag has no value of its own. */
  implied?: string;
  help: string;
  /** What a shell may offer for its value. */
  completes?: 'target' | 'namespace' | 'context' | 'kind';
  /** Given again it adds to its value, after a comma. */
  repeats?: true;
}

const TARGET_FLAG: FlagRow = {
  name: 'target',
  short: 't',
  value: 'required',
  shows: 'TARGET',
  overrides: 'MIRRORD_IMPERSONATED_TARGET',
  completes: 'target',
  help: 'pid/N, container/NAME of this machine; pod/NAME, deployment/NAME ...',
};

const FS_FLAG: FlagRow = {
  name: 'fs-mode',
  value: 'required',
  shows: 'MODE',
  overrides: 'MIRRORD_FILE_MODE',
  spelling: { 'local-with-overrides': 'localwithoverrides' },
  help: 'read, write, local or local-with-overrides',
};

function off(name: string, help: string, ...overrides: string[]): FlagRow {
  return { name, value: 'none', overrides, means: 'false', help };
}

/** What of the network stays here, whatever the configuration says. */
const NETWORK_FLAGS: readonly FlagRow[] = [
  off('no-outgoing', 'connections are made from here', 'MIRRORD_TCP_OUTGOING', 'MIRRORD_UDP_OUTGOING'),
  off('no-tcp-outgoing', 'TCP connections are made from here', 'MIRRORD_TCP_OUTGOING'),
  off('no-udp-outgoing', 'datagrams are sent from here', 'MIRRORD_UDP_OUTGOING'),
  off('no-remote-dns', 'names are looked up here', 'MIRRORD_REMOTE_DNS'),
];

const RENEW_FLAG: FlagRow = {
  name: 'renew-connections',
  value: 'none',
  overrides: 'MIRRORD_RENEW_CONNECTIONS',
  help: 'connections that began before are closed, ten a second, to come again',
};

const EXEC_FLAGS: readonly FlagRow[] = [
  TARGET_FLAG,
  CONFIG_FLAG,
  ...TARGET_CLUSTER_FLAGS,
  FS_FLAG,
  ...NETWORK_FLAGS,
  {
    name: 'steal',
    value: 'none',
    overrides: 'MIRRORD_AGENT_TCP_STEAL_TRAFFIC',
    means: 'true',
    help: 'connections to the target come here; with http_filter only requests that match',
  },
  RENEW_FLAG,
  {
    name: 'override-env-vars-include',
    short: 's',
    value: 'required',
    shows: 'LIST',
    overrides: 'MIRRORD_OVERRIDE_ENV_VARS_INCLUDE',
    help: 'only these variables of the target; separated by ; with * and ?',
  },
  {
    name: 'override-env-vars-exclude',
    short: 'x',
    value: 'required',
    shows: 'LIST',
    overrides: 'MIRRORD_OVERRIDE_ENV_VARS_EXCLUDE',
    help: 'all variables of the target but these',
  },
  {
    name: 'env-file',
    value: 'required',
    shows: 'PATH',
    overrides: 'MIRRORD_OVERRIDE_ENV_VARS_FILE',
    help: 'variables from a dotenv file, before those of the target',
  },
  { name: 'key', short: 'k', value: 'required', shows: 'KEY', overrides: 'MIRRORD_KEY', help: 'key for templates' },
  { name: 'verbose', value: 'none', help: 'the log on stderr as well' },
  { name: 'progress', value: 'required', shows: 'MODE', help: 'standard, simple, json or off' },
  { name: 'no-telemetry', value: 'none', help: 'accepted; there is no telemetry' },
  { name: 'disable-version-check', value: 'none', help: 'accepted; there is no version check' },
  {
    name: 'ephemeral-container',
    short: 'e',
    value: 'none',
    overrides: 'MIRRORD_EPHEMERAL_CONTAINER',
    means: 'true',
    help: "the agent as an ephemeral container of the target's pod",
  },
  {
    name: 'skip-processes',
    value: 'required',
    shows: 'LIST',
    overrides: 'MIRRORD_SKIP_PROCESSES',
    help: 'accepted; no process is left out, and a warning says so',
  },
];

export interface CommandRow {
  name: string;
  usage: string;
  help: string;
  flags: readonly FlagRow[];
  /** Everything from the first word that is no flag belongs to the local process. */
  takesCommand?: true;
  /** Of our own scripts: not listed. */
  isHidden?: true;
  /** Known to users of other versions and refused: what it would be for, and what does it here. */
  missing?: string;
  instead?: string;
}

function noCommand(name: string, missing: string, instead?: string): CommandRow {
  return { name, usage: '', help: '', flags: [], missing, ...(instead === undefined ? {} : { instead }) };
}

export const COMMANDS: readonly CommandRow[] = [
  {
    name: 'exec',
    usage: 'exec [FLAGS] [--] COMMAND [ARGUMENT...]',
    help: 'run COMMAND with the environment, files and network of a target',
    flags: [...EXEC_FLAGS, HELP_FLAG],
    takesCommand: true,
  },
  {
    name: 'explain',
    usage: 'explain [FLAGS] PATH|HOST:PORT...',
    help: 'where a path would be read from or a connection go, and by which rule',
    flags: [
      CONFIG_FLAG,
      FS_FLAG,
      ...NETWORK_FLAGS,
      { name: 'write', value: 'none', help: 'only where it is written' },
      { name: 'json', value: 'none', help: 'for programs' },
      HELP_FLAG,
    ],
  },
  {
    name: 'dump',
    usage: 'dump [FLAGS] -p PORT...',
    help: 'show the traffic of ports of a target as it comes',
    flags: [
      TARGET_FLAG,
      CONFIG_FLAG,
      { name: 'ports', short: 'p', value: 'required', shows: 'PORT', repeats: true, help: 'of the target' },
      RENEW_FLAG,
      { name: 'json', value: 'none', help: 'for programs: an object a line' },
      HELP_FLAG,
    ],
  },
  {
    name: 'verify-config',
    usage: 'verify-config [--ide] [--resolved] PATH',
    help: 'check a configuration file; the verdict is JSON',
    flags: [
      { name: 'ide', value: 'none', help: 'a missing target is not the end' },
      { name: 'resolved', value: 'none', help: 'with every value after defaults and overrides' },
      HELP_FLAG,
    ],
  },
  {
    name: 'completions',
    usage: 'completions SHELL',
    help: 'completion script for bash, zsh or fish',
    flags: [HELP_FLAG],
  },
  ...CLUSTER_COMMANDS,
  noCommand('container', 'containers as local processes'),
  noCommand('port-forward', 'ports of the target on this machine'),
  noCommand('up', 'many sessions at once'),
  noCommand('ui', 'a dashboard', '`mirrord session list` shows who runs what.'),
  noCommand(
    'kill',
    'the end of sessions by name',
    '`mirrord session stop ID` ends one; `mirrord session list` has the ids.',
  ),
  noCommand('chaos', 'artificial faults'),
  noCommand('fix', 'paths of login plugins in kubeconfigs'),
  noCommand(
    'diagnose',
    'measuring the way to an agent',
    '`mirrord doctor` says what will work here and in the cluster.',
  ),
  noCommand('ext', 'editors'),
  noCommand('operator', 'the operator'),
];

/** What help, completion and suggestions know. */
export const SHOWN_COMMANDS = COMMANDS.filter(({ missing, isHidden }) => missing === undefined && isHidden !== true);

export interface ParsedArguments {
  /** By long name; `true` for a flag without a value. */
  flags: Readonly<Record<string, string | true>>;
  /** Flags that override the configuration, by the variable they stand for. */
  overrides: Readonly<Record<string, string>>;
  /** What is no flag: the command to run, or a command's own words. */
  words: readonly string[];
}

/** Throws CONFIG_INVALID with a suggestion, or UNSUPPORTED for a command that is not built. */
export function findCommand(name: string): CommandRow {
  const row = COMMANDS.find((candidate) => candidate.name === name);
  if (row === undefined) {
    const known = SHOWN_COMMANDS.map((candidate) => candidate.name);
    throw invalid(`${JSON.stringify(name)} is no command${suggest(name, known, '')}`);
  }
  if (row.missing !== undefined) throw notHere(row, row.missing);
  return row;
}

/** Throws CONFIG_INVALID for what the command does not know. */
export function parseArguments(command: CommandRow, args: readonly string[]): ParsedArguments {
  const flags: Record<string, string | true> = {};
  const overrides: Record<string, string> = {};
  const words: string[] = [];
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at] ?? '';
    if (arg === '--') {
      words.push(...args.slice(at + 1));
      break;
    }
    if (!arg.startsWith('-') || arg === '-') {
      if (command.takesCommand) {
        words.push(...args.slice(at));
        break;
      }
      words.push(arg);
      continue;
    }
    const { row, attached } = matchFlag(command, arg);
    const next = args[at + 1];
    const value = attached ?? (takesNext(row, next) ? next : row.implied);
    if (attached === undefined && takesNext(row, next)) at += 1;
    set(row, value, flags, overrides);
  }
  return { flags, overrides, words };
}

function set(
  row: FlagRow,
  value: string | undefined,
  flags: Record<string, string | true>,
  overrides: Record<string, string>,
): void {
  if (row.value === 'none' && value !== undefined) throw invalid(`--${row.name} takes no value`);
  if (row.value === 'required' && value === undefined) {
    throw invalid(`--${row.name} wants a value: --${row.name} ${row.shows ?? 'VALUE'}`);
  }
  const before = Object.hasOwn(flags, row.name) ? flags[row.name] : undefined;
  if (before !== undefined && row.repeats !== true) throw invalid(`--${row.name} is given twice`);
  flags[row.name] = before === undefined ? (value ?? true) : `${before},${value}`;
  const text = row.spelling?.[value ?? ''] ?? value ?? row.means ?? 'true';
  for (const variable of [row.overrides ?? []].flat()) overrides[variable] = text;
}

function takesNext(row: FlagRow, next: string | undefined): boolean {
  if (next === undefined || (next !== '-' && next.startsWith('-'))) return false;
  return row.value === 'required' || row.value === 'optional';
}

/** `--name`, `--name=value`, `-n`, `-nvalue` and `-n=value`. */
function matchFlag(command: CommandRow, arg: string): { row: FlagRow; attached: string | undefined } {
  if (arg.startsWith('--')) {
    const equals = arg.indexOf('=');
    const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
    const row = command.flags.find((candidate) => candidate.name === name);
    if (row === undefined) throw unknownFlag(command, `--${name}`, name);
    return { row, attached: equals < 0 ? undefined : arg.slice(equals + 1) };
  }
  const row = command.flags.find((candidate) => candidate.short === arg[1]);
  if (row === undefined) throw unknownFlag(command, arg.slice(0, 2), arg.slice(1));
  const rest = arg.slice(2).replace(/^=/, '');
  return { row, attached: arg.length === 2 ? undefined : rest };
}

function unknownFlag(command: CommandRow, shown: string, name: string): AppError {
  const known = command.flags.map((row) => row.name);
  return invalid(`${command.name} does not know the flag ${shown}${suggest(name, known, '--')}`);
}

function suggest(name: string, known: readonly string[], prefix: string): string {
  const nearest = known
    .map((candidate) => ({ candidate, distance: distanceOf(name, candidate) }))
    .sort((a, b) => a.distance - b.distance)[0];
  if (nearest === undefined || nearest.distance > Math.max(2, name.length / 3)) return '';
  return `; did you mean ${prefix}${nearest.candidate}?`;
}

/** Levenshtein's: single letters added, left out or changed. */
function distanceOf(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const current = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const changed = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(changed, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}

function invalid(message: string): AppError {
  return new AppError('CONFIG_INVALID', message);
}

function notHere({ name, instead = '`mirrord --help` lists what there is.' }: CommandRow, missing: string): AppError {
  return new AppError('UNSUPPORTED', `this version has no command ${name} (${missing})`, {
    data: { exitCode: 2, advice: instead },
  });
}
