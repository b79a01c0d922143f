// What the user is told when the connection to the agent breaks and comes back. A break that nobody notices is only logged.

import type { Renewal } from '#proto/dial.ts';
import type { Config } from './config/schema/root.ts';
import type { Log } from './log.ts';
import type { Progress } from './progress.ts';

/** Shorter breaks are a delay like any other. */
const WORTH_TELLING_MS = 1_500;

export interface InterruptionOptions {
  readonly config: Pick<Config, 'agent'>;
  readonly progress: Pick<Progress, 'failure'>;
  readonly log: Pick<Log, 'warn' | 'info'>;
  readonly prove: Renewal['prove'];
}

/** Nothing where the configuration wants the first break to be the end. */
export function renewalOf({ config, progress, log, prove }: InterruptionOptions): { renewal?: Renewal } {
  const graceMs = config.agent.reconnect_timeout * 1_000;
  if (graceMs === 0) return {};
  let telling: NodeJS.Timeout | undefined;
  let wasTold = false;
  const onInterrupted: Renewal['onInterrupted'] = (error, agreedMs) => {
    log.warn('connection lost', { reason: error.message, graceMs: agreedMs });
    telling = setTimeout(() => {
      wasTold = true;
      progress.failure(`${error.message}; trying again for ${Math.round(agreedMs / 1_000)} s`);
    }, WORTH_TELLING_MS);
    telling.unref();
  };
  const onRenewed = (awayMs: number) => {
    clearTimeout(telling);
    log.info('connection renewed', { awayMs: Math.round(awayMs) });
    if (wasTold) progress.failure(`connected again after ${(awayMs / 1_000).toFixed(1)} s; nothing was lost`);
    wasTold = false;
  };
  return { renewal: { graceMs, prove, onInterrupted, onRenewed, onOver: () => clearTimeout(telling) } };
}
