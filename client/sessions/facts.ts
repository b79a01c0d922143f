// A session in words, for those who meet it: in a list, or on the agent's job in a cluster. Pure but for who we are.

import { hostname, userInfo } from 'node:os';
import type { Config } from '../config/schema/root.ts';

export interface SessionFacts {
  readonly target: string;
  /** `user@machine`. */
  readonly from: string;
  /** `steal {"header_filter":"^x-user: alice$"}`, `mirror` or `off`. */
  readonly incoming: string;
}

/** As annotations of the agent's job. */
export const FACT_ANNOTATIONS = {
  target: 'mirrord.dev/target',
  from: 'mirrord.dev/from',
  incoming: 'mirrord.dev/incoming',
} as const satisfies Record<keyof SessionFacts, string>;

/** Ports of the target that the local process stands for by now, `8080,9090`. */
export const PORTS_ANNOTATION = 'mirrord.dev/ports';
/** Who ended the session of a job. */
export const STOPPED_BY_ANNOTATION = 'mirrord.dev/stopped-by';

const MAX_CHARS = 500;

export function sessionFacts(target: string, { feature }: Pick<Config, 'feature'>): SessionFacts {
  return { target, from: whoWeAre(), incoming: incomingText(feature.network.incoming) };
}

export function annotationsOf(facts: SessionFacts): Record<string, string> {
  return Object.fromEntries(
    Object.entries(FACT_ANNOTATIONS).map(([name, annotation]) => [annotation, facts[name as keyof SessionFacts]]),
  );
}

export function whoWeAre(): string {
  return `${userName()}@${hostname()}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without a name, as in many containers.
    return String(process.geteuid?.() ?? '');
  }
}

function incomingText({ mode, http_filter: filter }: Config['feature']['network']['incoming']): string {
  if (mode !== 'steal') return mode;
  const wanted = Object.entries(filter).filter(([name, value]) => name !== 'ports' && value !== null);
  const text = wanted.length === 0 ? 'everything' : JSON.stringify(Object.fromEntries(wanted));
  return `steal ${text.length > MAX_CHARS ? `${text.slice(0, MAX_CHARS)}…` : text}`;
}
