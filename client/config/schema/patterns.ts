// The types of keys that hold regular expressions; all of them are compiled while the configuration is read.

import { compilePattern } from '../../file-rules/pattern.ts';
import { check, type TextMap, textList, textMap } from './values.ts';

function fault(pattern: string): string | null {
  const compiled = compilePattern(pattern);
  return 'bad' in compiled ? `holds the pattern ${JSON.stringify(pattern)}, which ${compiled.bad}` : null;
}

function firstFault(patterns: readonly string[]): string | null {
  for (const pattern of patterns) {
    const bad = fault(pattern);
    if (bad !== null) return bad;
  }
  return null;
}

export const patternList = check(textList, firstFault);
/** The names are patterns. The first that matches, in the order of the file, is used. */
export const patternMap = check(textMap, (entries: TextMap) => firstFault(entries.map(([name]) => name)));
