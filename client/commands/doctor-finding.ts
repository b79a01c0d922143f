// One thing that `mirrord doctor` has found.

import type { Move } from '#proto/errors.ts';

export interface Finding {
  readonly area: 'here' | 'cluster' | 'rights' | 'target';
  /** unknown: the cluster does not tell this user. */
  readonly level: 'ok' | 'warn' | 'fail' | 'unknown';
  readonly what: string;
  readonly advice?: string;
  readonly move?: Move;
}
