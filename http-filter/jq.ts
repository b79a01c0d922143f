// jq programs, compiled once and run on texts of each request within a limit of work: the language without what defines
// functions, loops without an end, changes its input or reads anything but it. What is left out is refused by name.

import { demandedTexts } from './jq-demands.ts';
import { parsePipe } from './jq-parser.ts';
import { singleOf } from './jq-syntax.ts';
import { JqError } from './jq-value.ts';
import type { Json } from './json-value.ts';
import { QueryText } from './query-text.ts';
import type { WorkLimit } from './work-limit.ts';

export type Scope = Readonly<{ work: WorkLimit; variables: ReadonlyMap<string, Json> }>;

/** Any number of outputs for one input. @throws JqError, WorkLimitReached */
export type JqFilter = (input: Json, scope: Scope) => Iterable<Json>;

export type JqProgram = Readonly<{
  /** The first output that is true or false; undefined when there is none before the outputs or an error end it. */
  firstBoolean: (input: Json, work: WorkLimit) => boolean | undefined;
  /** In lower case: all are in a text, or in names and members of an object, of which `firstBoolean` is true. */
  demanded: readonly string[];
  /** All outputs, for tests against jq itself. */
  outputs: (input: Json, work: WorkLimit) => Json[];
}>;

const NO_VARIABLES: ReadonlyMap<string, Json> = new Map();

/**
 * @param where the key that the user wrote it in, for messages
 * @throws AppError CONFIG_INVALID or UNSUPPORTED naming the part
 */
export function compileJq(source: string, where: string): JqProgram {
  const text = new QueryText(source, where);
  const filter = parsePipe(text, { variables: new Set() });
  if (!text.isAtEnd) text.fail(`${JSON.stringify(text.peek())} is not expected here`);
  const single = singleOf(filter);
  const scope = (work: WorkLimit): Scope => ({ work, variables: NO_VARIABLES });
  return {
    firstBoolean: (input, work) => {
      try {
        if (single !== undefined) {
          const only = single(input, scope(work));
          return typeof only === 'boolean' ? only : undefined;
        }
        for (const output of filter(input, scope(work))) if (typeof output === 'boolean') return output;
      } catch (error) {
        if (!(error instanceof JqError)) throw error;
      }
      return undefined;
    },
    demanded: demandedTexts(filter),
    outputs: (input, work) => [...filter(input, scope(work))],
  };
}
