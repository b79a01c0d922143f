// Why a regular expression cannot be: RE2 says what it did not take; this finds where that stands and what would do instead.

import type { RE2JSException } from 're2js';
import type { Fault } from './filter-fault.ts';
import { behindClass } from './required-text.ts';

type Advice = Readonly<{ why: string; instead: string }>;

const LINEAR = 'a filter must take linear time';

/** Parts of other dialects, by how they begin. */
const REFUSED: ReadonlyArray<readonly [RegExp, Advice]> = [
  [
    /^\(\?=/,
    {
      why: `look-around is not offered, because ${LINEAR}: look-ahead`,
      instead: 'write what follows as a part of the pattern; conditions that must all hold go into all_of',
    },
  ],
  [
    /^\(\?!/,
    {
      why: `look-around is not offered, because ${LINEAR}: negative look-ahead`,
      instead:
        'name what is wanted, for example by a class such as [^/]; of a header, header_filter_jq can say what must not be: startswith("x-user: ") and (test("bob") | not)',
    },
  ],
  [
    /^\(\?<[=!]/,
    {
      why: `look-around is not offered, because ${LINEAR}: look-behind`,
      instead: 'write what comes before as a part of the pattern; ^ is the begin',
    },
  ],
  [
    /^(?:\\[1-9]|\\k[<{'])/,
    {
      why: `a backreference is not offered, because ${LINEAR}`,
      instead: 'write out the text that comes again',
    },
  ],
  [
    /^\(\?>/,
    {
      why: `an atomic group is not offered, because ${LINEAR}`,
      instead: 'write (?: for it: nothing is tried twice here',
    },
  ],
  [
    /^(?:[*+?]|\{[0-9,]+\})\+/,
    {
      why: `a possessive quantifier is not offered, because ${LINEAR}`,
      instead: 'leave out the second +: nothing is tried twice here',
    },
  ],
];

/** What RE2 says, in our words. */
const BROKEN: Readonly<Record<string, Advice>> = {
  'missing closing )': { why: 'a group has no end', instead: 'close it with ), or write \\( for the character' },
  'unexpected )': { why: 'a group ends that did not begin', instead: 'write \\) for the character' },
  'missing closing ]': { why: 'a class has no end', instead: 'close it with ], or write \\[ for the character' },
  'missing argument to repetition operator': {
    why: 'nothing stands before the repetition',
    instead: 'write a backslash before it for the character, or .* for anything',
  },
  'invalid nested repetition operator': {
    why: 'a repetition is repeated',
    instead: 'put the inner one into a group: (?:a*)*',
  },
  'invalid repeat count': {
    why: 'this repetition is too large, or ends below its begin',
    instead: 'repeat at most 1000 times, those inside of each other counted together',
  },
  'invalid character class range': {
    why: 'there is no such range or class of characters',
    instead:
      'begin a range with the lower one; write \\- for the character; classes are such as \\d, \\pL and [[:alpha:]]',
  },
  'invalid escape sequence': { why: 'there is no such escape', instead: 'write \\\\ for a backslash' },
  'trailing backslash at end of expression': {
    why: 'a backslash stands before nothing',
    instead: 'write \\\\ for a backslash',
  },
  'invalid or unsupported Perl syntax': {
    why: 'there is no such group',
    instead: '(?: begins a group, (?i) takes upper for lower case; write \\( for the character',
  },
  'duplicate capture group name': {
    why: 'two groups have this name',
    instead: 'leave the names out: nothing asks for them',
  },
};

export function patternFault(source: string, error: RE2JSException): Fault {
  const said = 'error' in error ? String(error.error) : error.message;
  const input = 'input' in error && typeof error.input === 'string' ? error.input : '';
  const at = placeOf(source, said, input);
  const rest = source.slice(at);
  for (const [begin, advice] of REFUSED) {
    const found = begin.exec(rest);
    if (found !== null) return { ...advice, at, length: found[0].length };
  }
  const advice = BROKEN[said] ?? { why: `it is no regular expression (${said})`, instead: 'the syntax is that of RE2' };
  return {
    ...advice,
    at,
    length: said === 'unexpected )' || said === 'missing closing )' ? 1 : Math.max(1, input.length),
  };
}

function placeOf(source: string, said: string, input: string): number {
  if (said === 'trailing backslash at end of expression') return source.length - 1;
  const open: number[] = [];
  for (const at of pieces(source)) {
    if (said === 'unexpected )' || said === 'missing closing )') {
      if (source[at] === '(') open.push(at);
      else if (source[at] === ')' && open.pop() === undefined) return at;
    } else if (input !== '' && source.startsWith(input, at)) {
      // RE2 names `+` of `a{2}+` as part of the repetition that it repeats.
      return at;
    }
  }
  return open.at(-1) ?? Math.max(0, source.lastIndexOf(input));
}

/** Where characters, escapes and whole classes begin. */
function* pieces(source: string): Generator<number> {
  for (let at = 0; at < source.length; ) {
    yield at;
    at = source[at] === '\\' ? at + 2 : source[at] === '[' ? behindClass(source, at) : at + 1;
  }
}
