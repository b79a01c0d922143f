// What is said of a filter that cannot be: where it was written, the part that is at fault, marked, and what to write instead.

import { AppError } from '#proto/errors.ts';

export type Fault = Readonly<{
  /** What is wrong with the part, as the rest of a sentence that begins with the place. */
  why: string;
  /** Index and length of the part in the source. */
  at: number;
  length: number;
  instead?: string | undefined;
}>;

/** Characters of a source that are shown; of longer ones those around the part. */
const MAX_SHOWN = 72;
/** Of these before the part. */
const MAX_BEFORE = 40;

/**
 * @param where the key, flag or variable that it was written in, for the message
 * @param code UNSUPPORTED when the language has it, and we do not
 */
export function filterError(
  where: string,
  source: string,
  fault: Fault,
  code: 'CONFIG_INVALID' | 'UNSUPPORTED' = 'CONFIG_INVALID',
  cause?: unknown,
): AppError {
  const instead = fault.instead === undefined ? '' : `\n  instead: ${fault.instead}`;
  const message = `${where}: ${fault.why} (character ${fault.at + 1})${marked(source, fault)}${instead}`;
  return new AppError(code, message, cause === undefined ? {} : { cause });
}

/** Two lines: the source, and below the part as many carets as it is long. */
function marked(source: string, { at, length }: Fault): string {
  const begin = source.length > MAX_SHOWN ? Math.max(0, at - MAX_BEFORE) : 0;
  const shown = source.slice(begin, begin + MAX_SHOWN);
  const line = `${begin > 0 ? '…' : ''}${oneLine(shown)}${begin + MAX_SHOWN < source.length ? '…' : ''}`;
  const before = at - begin + (begin > 0 ? 1 : 0);
  const carets = Math.max(1, Math.min(length, MAX_SHOWN - (at - begin)));
  return `\n    ${line}\n    ${' '.repeat(before)}${'^'.repeat(carets)}`;
}

/** Each character stays one, so that the carets stand below theirs. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '·');
}
