// A terminal that keeps what a command says.

import type { Terminal } from '../terminal.ts';

export interface KeptTerminal extends Terminal {
  outText: string;
  errText: string;
}

export function keepTerminal(cwd: string, env: NodeJS.ProcessEnv): KeptTerminal {
  const kept: KeptTerminal = {
    outText: '',
    errText: '',
    out: (text) => {
      kept.outText += text;
    },
    err: (text) => {
      kept.errText += text;
    },
    isErrTty: false,
    env,
    cwd,
  };
  return kept;
}
