// Character classes of a pattern (pattern.ts): `[a-z]`, `[^/]`, `[[:alpha:]]`. A class inside a class and the operators
// on classes are refused.

/** The message continues "the pattern X, which …". */
export class PatternFault extends Error {}

export interface CharacterClass {
  readonly source: string;
  /** Position after the closing bracket. */
  readonly end: number;
  /** The one character that the class stands for: `[.]`. */
  readonly single: string | null;
}

const POSIX: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  ascii: '\\x00-\\x7F',
  blank: '\\t ',
  cntrl: '\\x00-\\x1F\\x7F',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`{-~',
  space: '\\t\\n\\v\\f\\r ',
  upper: 'A-Z',
  word: '\\w',
  xdigit: '0-9A-Fa-f',
};

/** Reads the class whose opening bracket is before `start`. */
export function readClass(text: string, start: number, isUnicode: boolean): CharacterClass {
  let at = start;
  let source = '[';
  const singles: string[] = [];
  if (text[at] === '^') {
    source += '^';
    at++;
  }
  for (let isFirst = true; ; isFirst = false) {
    const rest = text.slice(at, at + 40);
    const char = rest[0];
    if (char === undefined) throw new PatternFault('has a class without a closing bracket');
    if (char === ']' && !isFirst) break;
    if (/^(?:&&|--|~~)/.test(rest) && !rest.startsWith('--]')) {
      throw new PatternFault(`has ${rest.slice(0, 2)} inside a class, which is not supported`);
    }
    const item = readItem(rest, isUnicode);
    at += item.length;
    source += item.source;
    singles.push(item.single ?? '');
  }
  const single = source[1] !== '^' && singles.length === 1 ? (singles[0] ?? '') : '';
  return { source: `${source}]`, end: at + 1, single: single === '' ? null : single };
}

function readItem(rest: string, isUnicode: boolean): { source: string; length: number; single?: string } {
  if (rest.startsWith('[')) return readPosix(rest);
  if (rest.startsWith('\\')) return readEscape(rest);
  const char = isUnicode ? String.fromCodePoint(rest.codePointAt(0) ?? 0) : rest.charAt(0);
  return { source: char === ']' || char === '^' ? `\\${char}` : char, length: char.length, single: char };
}

function readPosix(rest: string): { source: string; length: number } {
  const match = /^\[:(\w+):\]/.exec(rest);
  const members = POSIX[match?.[1] ?? ''];
  if (match === null) throw new PatternFault('has a class inside a class; write it as one class, or \\[ for a bracket');
  if (members === undefined) throw new PatternFault(`has ${match[0]}, which is no class of characters`);
  return { source: members, length: match[0].length };
}

function readEscape(rest: string): { source: string; length: number; single?: string } {
  const match = /^\\(?:[dDwWsSntrfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[pP]\{[\w=]+\})/.exec(rest);
  if (match !== null) return { source: match[0], length: match[0].length };
  const char = rest[1];
  if (char === undefined || /[A-Za-z0-9]/.test(char)) {
    throw new PatternFault(`has \\${char ?? ''} inside a class, which is not supported`);
  }
  const needsEscape = /[\\\]^[\-/.$*+?(){}|]/.test(char);
  return { source: needsEscape ? `\\${char}` : char, length: 2, single: char };
}
