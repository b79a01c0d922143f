// Regular expressions of filters, in linear time: one user's pattern must not stop a target that many use. RE2's syntax, so
// look-around and backreferences are refused when the filter is made, by name.

import { RE2JS, RE2JSException } from 're2js';
import { AppError } from '#proto/errors.ts';
import { filterError } from './filter-fault.ts';
import { patternFault } from './pattern-fault.ts';
import { requiredPrefix, requiredTexts } from './required-text.ts';

/** Longest pattern in characters; RE2 bounds the work on a text by the product of both. */
export const MAX_PATTERN_LENGTH = 4_096;

export type Pattern = Readonly<{
  matches: (text: string) => boolean;
  /**
   * Texts in lower case, each of which every match contains when case is ignored; parts of one line, without colons and the
   * spaces around them. Empty when the pattern demands none.
   */
  required: readonly string[];
  /** In lower case: no line as `name: value` is matched whose name begins otherwise. */
  prefix: string;
}>;

/**
 * @param where the key or flag that the user wrote it in, for the message
 * @throws AppError CONFIG_INVALID when it is empty, too long, or not in RE2's syntax
 */
export function compilePattern(source: string, where: string): Pattern {
  if (source === '') throw new AppError('CONFIG_INVALID', `${where} is an empty pattern, which would match everything`);
  if (source.length > MAX_PATTERN_LENGTH) {
    throw new AppError('CONFIG_INVALID', `${where} is longer than ${MAX_PATTERN_LENGTH} characters`);
  }
  try {
    const compiled = RE2JS.compile(source);
    return { matches: (text) => compiled.test(text), required: requiredTexts(source), prefix: requiredPrefix(source) };
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    throw filterError(where, source, patternFault(source, error), 'CONFIG_INVALID', error);
  }
}
