// What a command may touch of the process it runs in, and how it ends. cli.ts brings the real one.

export interface Terminal {
  out(text: string): void;
  err(text: string): void;
  /** Nobody reads what is written to `out` any more, as behind `| head`. */
  readonly isOutGone?: boolean;
  readonly isErrTty: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

/** Of the client's own process: a signal death is repeated, so that who waits for us sees what happened. */
export type Outcome = { kind: 'exit'; code: number } | { kind: 'signal'; signal: NodeJS.Signals };

export function exit(code: number): Outcome {
  return { kind: 'exit', code };
}

/** Of a command that has ended before `left` processes of its run. */
export function describeBackground(outcome: Outcome, left: number): string {
  const how = outcome.kind === 'exit' ? `exit code ${outcome.code}` : outcome.signal;
  const others = left === 1 ? 'a process' : `${left} processes`;
  return `mirrord: the command has ended (${how}), but left ${others} in the background: waiting; Ctrl-C ends that`;
}
