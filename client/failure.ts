// What the user reads when a command fails: what happened, whose move it is, what to do, and where the log is. Pure.

import { type AppError, type AppErrorCode, ERRORS, type Move } from '#proto/errors.ts';
import { printable } from './printable.ts';

export interface Failure {
  text: string;
  exitCode: number;
}

export const WHOSE_MOVE: Readonly<Record<Move, string>> = {
  user: 'yours',
  target: 'the target’s',
  cluster: 'the machine or cluster the target runs on',
  admin: 'whoever grants rights on the target’s machine or cluster',
  us: 'ours: this is a fault or a limit of mirrord',
};

const ADVICE: Readonly<Partial<Record<AppErrorCode, string>>> = {
  TARGET_NOT_FOUND:
    'check the name given with --target; pid/N wants a process that runs, container/NAME one that is up.',
  TARGET_GONE: 'the target has ended or was restarted; start again when it runs.',
  UNAUTHENTICATED: 'the agent does not accept our token: check that MIRRORD_AGENT_KEY_FILE is the agent’s own key.',
  NOT_PERMITTED: 'run mirrord as the owner of the target’s process, or as root (sudo mirrord exec ...).',
  LIMIT_REACHED: 'end other sessions or raise the limit named above.',
  DEADLINE_EXCEEDED: 'the agent is there but slow or stuck; try again, and look at its log.',
  AGENT_LOST: 'check that the agent runs and can be reached; then start again.',
  SERVICE_UNAVAILABLE: 'a part of the agent is missing or has just restarted; try again, and look at its log.',
  PROTOCOL_VIOLATION: 'are client, supervisor and agent of one version? If so, please report it with the log.',
  BUG: 'please report it with the log.',
};

/** `logFile`: null when there is none to look into. `command`: whose help lists what may be given; null for mirrord's own. */
export function describeFailure(error: AppError, logFile: string | null, command: string | null = null): Failure {
  const row = ERRORS[error.code];
  const special = error.data?.['advice'];
  const advice = typeof special === 'string' ? special : adviceFor(error.code, command);
  const move = error.data?.['move'];
  const whose = typeof move === 'string' && Object.hasOwn(WHOSE_MOVE, move) ? (move as Move) : row.move;
  const lines = [`mirrord: ${error.message}`, `  whose move: ${WHOSE_MOVE[whose]}`];
  if (advice !== undefined) lines.push(`  what to do: ${advice}`);
  if (logFile !== null && !isPlain(error.code)) lines.push(`  log: ${logFile}`);
  const exitCode = error.data?.['exitCode'];
  return {
    text: `${lines.map(printable).join('\n')}\n`,
    exitCode: typeof exitCode === 'number' ? exitCode : row.exitCode,
  };
}

function adviceFor(code: AppErrorCode, command: string | null): string | undefined {
  if (code !== 'CONFIG_INVALID') return ADVICE[code];
  const help =
    command === null ? '`mirrord --help` lists the commands' : `\`mirrord ${command} --help\` lists the flags`;
  return `correct it and run the command again; ${help}.`;
}

/** Failures that a log says no more about. */
export function isPlain(code: AppErrorCode): boolean {
  return code === 'CONFIG_INVALID' || code === 'UNSUPPORTED' || code === 'TARGET_NOT_FOUND';
}
