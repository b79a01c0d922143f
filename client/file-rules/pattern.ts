// The patterns of feature.fs and of the mappings: regular expressions as mirrord's users write them (the syntax of
// Rust's `regex` and `fancy-regex`), read into a JavaScript RegExp and into a tree from which literals.ts takes what the
// supervisor can compare by itself. Upper and lower case are the same unless the pattern begins with `(?-i)`. A dot
// matches every character, a newline too: a path is one line whatever it holds. `\d`, `\w` and `\s` know ASCII only.

import { type CharacterClass, PatternFault, readClass } from './pattern-class.ts';

export type PatternNode =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  /** `.*`: anything, nothing too. */
  | { readonly kind: 'rest' }
  | { readonly kind: 'alternatives'; readonly branches: readonly (readonly PatternNode[])[] }
  /** What only the RegExp can tell. */
  | { readonly kind: 'opaque' };

export interface Pattern {
  readonly text: string;
  readonly regex: RegExp;
  readonly foldsCase: boolean;
  readonly branches: readonly (readonly PatternNode[])[];
}

/** `bad` continues a sentence: "the pattern X, which …". */
export function compilePattern(
  text: string,
  options: { foldsCase: boolean } = { foldsCase: true },
): { readonly ok: Pattern } | { readonly bad: string } {
  if (text.length > MAX_LENGTH) return { bad: `is longer than ${MAX_LENGTH} characters` };
  try {
    const parser = new Parser(text, options.foldsCase);
    const branches = parser.alternatives();
    if (!parser.isAtEnd) return { bad: 'has a closing parenthesis too many' };
    return {
      ok: { text, regex: new RegExp(parser.source, parser.flags), foldsCase: parser.foldsCase, branches },
    };
  } catch (error) {
    if (error instanceof PatternFault) return { bad: error.message };
    if (error instanceof SyntaxError) {
      return { bad: `is no regular expression: ${error.message.replace(/^.*: /s, '').toLowerCase()}` };
    }
    throw error;
  }
}

const OPAQUE: PatternNode = { kind: 'opaque' };
const SYNTAX = /[\^$\\.*+?()[\]{}|/]/;
const QUANTIFIER = /(?:[*+?]|\{\d+(?:,\d*)?\})/y;
const CONTROL: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', f: '\f', v: '\v', a: '\x07' };
const GROUP_NAME = /^[A-Za-z_]\w*/;
/** Deeper nesting is nobody's path, and the parser is recursive. */
const MAX_DEPTH = 50;
const MAX_LENGTH = 4096;

/** Neighbouring literals become one. */
export function append(branch: PatternNode[], node: PatternNode): void {
  const last = branch.at(-1);
  if (node.kind === 'literal' && last?.kind === 'literal') {
    branch[branch.length - 1] = { kind: 'literal', text: last.text + node.text };
  } else branch.push(node);
}

class Parser {
  source = '';
  readonly #text: string;
  #at = 0;
  #depth = 0;
  #isUnicode: boolean;
  #isMultiline = false;
  foldsCase: boolean;

  constructor(text: string, foldsCase: boolean) {
    this.#text = text;
    this.foldsCase = foldsCase;
    // Properties of characters exist only in the Unicode mode of RegExp.
    this.#isUnicode = /\\[pP]/.test(text);
    this.#leadingFlags();
  }

  get flags(): string {
    return `${this.foldsCase ? 'i' : ''}${this.#isMultiline ? 'm' : ''}${this.#isUnicode ? 'u' : ''}`;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#text.length;
  }

  alternatives(): PatternNode[][] {
    if (++this.#depth > MAX_DEPTH) throw new PatternFault(`has groups nested deeper than ${MAX_DEPTH}`);
    const branches: PatternNode[][] = [[]];
    while (!this.isAtEnd && this.#text[this.#at] !== ')') {
      if (this.#text[this.#at] === '|') {
        this.#at++;
        this.source += '|';
        branches.push([]);
      } else {
        for (const node of this.#quantified(this.#atom())) append(branches.at(-1) ?? [], node);
      }
    }
    this.#depth--;
    return branches;
  }

  #leadingFlags(): void {
    for (let match = this.#flagsHere(); match !== null; match = this.#flagsHere()) {
      this.#at += match[0].length;
      for (const flag of match[1] ?? '') this.#setFlag(flag, true);
      for (const flag of match[2] ?? '') this.#setFlag(flag, false);
    }
  }

  #flagsHere(): RegExpExecArray | null {
    return /^\(\?([a-zA-Z]*)(?:-([a-zA-Z]+))?\)/.exec(this.#text.slice(this.#at));
  }

  #setFlag(flag: string, isOn: boolean): void {
    if (flag === 'i') this.foldsCase = isOn;
    else if (flag === 'm') this.#isMultiline = isOn;
    else if (flag !== 's' && !(flag === 'u' && isOn)) {
      throw new PatternFault(`has the inline flag (?${isOn ? '' : '-'}${flag}), which is not supported`);
    }
  }

  #atom(): PatternNode {
    const char = String.fromCodePoint(this.#text.codePointAt(this.#at) ?? 0);
    this.#at += char.length;
    switch (char) {
      case '^':
        return this.#emit('^', this.#isMultiline ? OPAQUE : { kind: 'start' });
      case '$':
        return this.#emit('$', this.#isMultiline ? OPAQUE : { kind: 'end' });
      case '.':
        return this.#emit('[^]', OPAQUE);
      case '(':
        return this.#group();
      case '[':
        return this.#class();
      case '\\':
        return this.#escape();
      case '*':
      case '+':
      case '?':
        throw new PatternFault(`has ${char} with nothing to repeat`);
      default:
        return this.#literal(char);
    }
  }

  #emit(source: string, node: PatternNode): PatternNode {
    this.source += source;
    return node;
  }

  #literal(char: string): PatternNode {
    this.source += SYNTAX.test(char) ? `\\${char}` : char;
    // RegExp folds more than ASCII, which is all that the supervisor folds.
    if (char > '\x7f' || (this.#isUnicode && this.foldsCase && /[sk]/i.test(char))) return OPAQUE;
    return { kind: 'literal', text: char };
  }

  #quantified(atom: PatternNode): PatternNode[] {
    QUANTIFIER.lastIndex = this.#at;
    const quantifier = QUANTIFIER.exec(this.#text)?.[0];
    if (quantifier === undefined) return [atom];
    this.#at += quantifier.length;
    const isAnyCharacter = this.source.endsWith('[^]') && atom === OPAQUE;
    this.source += quantifier;
    if (this.#text[this.#at] === '?') {
      this.#at++;
      this.source += '?';
    } else if (this.#text[this.#at] === '+') {
      throw new PatternFault(`has the possessive ${quantifier}+, which is not supported; use ${quantifier}`);
    }
    QUANTIFIER.lastIndex = this.#at;
    if (QUANTIFIER.test(this.#text)) throw new PatternFault('repeats a repetition; put it into a group');
    if (quantifier === '*' && isAnyCharacter) return [{ kind: 'rest' }];
    if (quantifier === '?') return [{ kind: 'alternatives', branches: [[atom], []] }];
    return quantifier === '+' ? [atom, OPAQUE] : [OPAQUE];
  }

  #class(): PatternNode {
    const read: CharacterClass = readClass(this.#text, this.#at, this.#isUnicode);
    this.#at = read.end;
    if (read.single !== null) return this.#literal(read.single);
    return this.#emit(read.source, OPAQUE);
  }

  #group(): PatternNode {
    const isOpaque = this.#groupHead();
    const branches = this.alternatives();
    if (this.#text[this.#at] !== ')') throw new PatternFault('has a group without a closing parenthesis');
    this.#at++;
    this.source += ')';
    return isOpaque ? OPAQUE : { kind: 'alternatives', branches };
  }

  /** After the opening parenthesis. True where the group is one that looks around. */
  #groupHead(): boolean {
    const rest = this.#text.slice(this.#at);
    if (!rest.startsWith('?')) return this.#openGroup('(', 0, false);
    for (const look of ['?=', '?!', '?<=', '?<!']) {
      if (rest.startsWith(look)) return this.#openGroup(`(${look}`, look.length, true);
    }
    for (const opening of ['?P<', '?<']) {
      if (!rest.startsWith(opening)) continue;
      const name = GROUP_NAME.exec(rest.slice(opening.length))?.[0];
      if (name === undefined || rest[opening.length + name.length] !== '>') {
        throw new PatternFault('has a group whose name is not of letters, digits and _');
      }
      return this.#openGroup(`(?<${name}>`, opening.length + name.length + 1, false);
    }
    const flags = /^\?([a-zA-Z]*)(-[a-zA-Z]+)?([:)])/.exec(rest);
    if (flags === null) throw new PatternFault(`has the group (${rest.slice(0, 3)}…, which is not supported`);
    const changes = `${flags[1]}${flags[2] ?? ''}`.replaceAll(/[su]/g, '');
    if (flags[3] === ')' || (changes !== '' && !(changes === 'i' && this.foldsCase))) {
      throw new PatternFault('changes its flags inside; flags are supported at the beginning only');
    }
    return this.#openGroup('(?:', flags[0].length, false);
  }

  #openGroup(source: string, length: number, isOpaque: boolean): boolean {
    this.source += source;
    this.#at += length;
    return isOpaque;
  }

  #escape(): PatternNode {
    const rest = this.#text.slice(this.#at);
    const char = rest[0];
    if (char === undefined) throw new PatternFault('ends with a backslash');
    const property = /^[pP](?:\{(\^?)([\w=]+)\}|([A-Z]))/.exec(rest);
    if (property !== null) return this.#property(char, property);
    const hex = /^(?:x([0-9a-fA-F]{2})|[xuU]\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/.exec(rest);
    if (hex !== null) return this.#codePoint(hex);
    const back = /^(?:([1-9]\d?)|k<(\w+)>)/.exec(rest);
    if (back !== null) {
      this.#at += back[0].length;
      return this.#emit(`(?:\\${back[0]})`, OPAQUE);
    }
    this.#at += 1;
    if (char === 'A') return this.#emit('^', this.#isMultiline ? OPAQUE : { kind: 'start' });
    if (char === 'z') return this.#emit('$', this.#isMultiline ? OPAQUE : { kind: 'end' });
    if (/[dDwWsSbB]/.test(char)) return this.#emit(`\\${char}`, OPAQUE);
    const control = CONTROL[char];
    if (control !== undefined) return this.#literal(control);
    if (/[A-Za-z0-9]/.test(char)) throw new PatternFault(`has \\${char}, which is not supported`);
    return this.#literal(char);
  }

  #property(char: string, match: RegExpExecArray): PatternNode {
    this.#at += match[0].length;
    const isNegated = (char === 'P') !== (match[1] === '^');
    return this.#emit(`\\${isNegated ? 'P' : 'p'}{${match[2] ?? match[3]}}`, OPAQUE);
  }

  #codePoint(match: RegExpExecArray): PatternNode {
    this.#at += match[0].length;
    const point = Number.parseInt(match[1] ?? match[2] ?? match[3] ?? match[4] ?? '', 16);
    if (point > 0x10ffff) throw new PatternFault(`has \\${match[0]}, which is no character`);
    return this.#literal(String.fromCodePoint(point));
  }
}
