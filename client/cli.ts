// argv to command to the end of the process: the only file of the client that prints and exits. Commands and what they
// need are loaded when they are asked for.

import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { AppError } from '#proto/errors.ts';
import { VERSION } from '#proto/version.ts';
import { findCommand, type ParsedArguments, parseArguments } from './arguments.ts';
import { describeFailure } from './failure.ts';
import { commandHelp, overview } from './help.ts';
import { exit, type Outcome, type Terminal } from './terminal.ts';

let isOutGone = false;
/** The command, once it is known to be one. */
let asked: string | null = null;
const terminal: Terminal = {
  out: (text) => {
    isOutGone = !write(1, text) || isOutGone;
  },
  err: (text) => write(2, text),
  isErrTty: isatty(2),
  env: process.env,
  cwd: process.cwd(),
  get isOutGone() {
    return isOutGone;
  },
};

async function main(argv: readonly string[]): Promise<Outcome> {
  // `help exec` is `exec --help`.
  const [name, ...rest] = argv[0] === 'help' && argv[1] !== undefined ? [argv[1], '--help'] : argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    terminal.out(overview(VERSION));
    return exit(name === undefined ? 2 : 0);
  }
  if (name === '--version' || name === '-V') {
    terminal.out(`mirrord ${VERSION}\n`);
    return exit(0);
  }
  const command = findCommand(name);
  asked = command.name;
  const args = parseArguments(command, rest);
  if (args.flags['help'] !== undefined) {
    terminal.out(commandHelp(command));
    return exit(0);
  }
  return run(command.name, args);
}

async function run(name: string, args: ParsedArguments): Promise<Outcome> {
  switch (name) {
    case 'exec':
      return (await import('./commands/exec.ts')).exec(args, terminal);
    case 'dump':
      return (await import('./commands/dump.ts')).dump(args, terminal);
    case 'ls':
      return (await import('./commands/ls.ts')).ls(args, terminal);
    case 'doctor':
      return (await import('./commands/doctor.ts')).doctor(args, terminal);
    case 'clean':
      return (await import('./commands/clean.ts')).clean(args, terminal);
    case 'session':
      return (await import('./commands/session.ts')).session(args, terminal);
    case 'explain':
      return (await import('./commands/explain.ts')).explain(args, terminal);
    case 'verify-config':
      return (await import('./commands/verify-config.ts')).verifyConfig(args, terminal);
    case 'complete':
      return (await import('./commands/complete.ts')).complete(args, terminal);
    case 'completions':
      return (await import('./commands/completions.ts')).completions(args, terminal);
    default:
      throw new AppError('BUG', `command ${name} is in the table and nowhere else`);
  }
}

/**
 * Not by process.stdout and process.stderr: they make a pipe non-blocking, and it is the local process's pipe too, which
 * would then see EAGAIN. A reader that has gone away is no reason to fail: false then.
 */
function write(fd: 1 | 2, text: string): boolean {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      // Somebody else has made it non-blocking, and its reader is slow: these are a few lines, so wait.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return false;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
  return true;
}

/** A signal's default is done to us, so that a shell says of us what it would say of the local process. */
function end(outcome: Outcome): void {
  if (outcome.kind === 'exit') {
    // Nothing may keep the client once its command is done.
    process.exit(outcome.code);
  }
  process.kill(process.pid, outcome.signal);
  // A signal whose default is not to end: as shells say it.
  setTimeout(() => process.exit(1), 1_000);
}

main(process.argv.slice(2)).then(end, (thrown: unknown) => {
  const failure = describeFailure(AppError.from(thrown, 'BUG'), null, asked);
  terminal.err(failure.text);
  end(exit(failure.exitCode));
});
