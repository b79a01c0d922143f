// jq's terms: what a path begins with, and what may follow it.

import type { JqFilter } from './jq.ts';
import { callFunction } from './jq-functions.ts';
import { parsePipe } from './jq-parser.ts';
import {
  attempt,
  binary,
  constant,
  identity,
  indexed,
  type Names,
  ofSingle,
  orNothing,
  singleOf,
  skip,
  takeSymbol,
  takeWord,
  WORD,
} from './jq-syntax.ts';
import { FORMATS } from './jq-tables.ts';
import { add, isTruthy, iterate, JqError, objectOf, slice, subtract, textOf } from './jq-value.ts';
import type { Json } from './json-value.ts';
import type { QueryText } from './query-text.ts';

const FIELD = /\.[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER = /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y;

const REFUSED = new Set(['def', 'reduce', 'foreach', 'label', 'import', 'include', 'break', '__loc__']);
/** What a filter asks of a text needs none of those. */
const INSTEAD = 'one expression of |, and, or, if, test, startswith, split, any and all';
const KEYWORDS = new Set(['then', 'elif', 'else', 'end', 'as', 'and', 'or', 'catch', 'if', 'try', ...REFUSED]);

const VARIABLE = /\$[A-Za-z_][A-Za-z0-9_]*/y;

export function parsePostfix(text: QueryText, names: Names): JqFilter {
  return text.nested(() => {
    let term = parseTerm(text, names);
    for (;;) {
      skip(text);
      const field = text.match(FIELD);
      if (field !== undefined) term = indexed(term, constant(field.slice(1)), takeOptional(text));
      else if (text.take('."')) term = indexed(term, parseText(text, names), takeOptional(text));
      else if (text.take('.[') || text.take('[')) term = parseBrackets(text, names, term);
      else if (text.take('?')) term = attempt(term, undefined);
      else break;
    }
    return takeWord(text, 'as') ? parseBinding(text, names, term) : term;
  });
}

function parseTerm(text: QueryText, names: Names): JqFilter {
  skip(text);
  const start = text.at;
  const field = text.match(FIELD);
  if (field !== undefined) return indexed(identity, constant(field.slice(1)), takeOptional(text));
  if (text.take('..')) return callFunction(text, 'recurse', [], start);
  if (text.take('."')) return indexed(identity, parseText(text, names), takeOptional(text));
  const number = text.match(NUMBER);
  if (number !== undefined) return constant(Number(number));
  if (text.take('.')) return identity;
  if (text.take('"')) return parseText(text, names);
  if (text.take('(')) {
    const inner = parsePipe(text, names);
    skip(text);
    text.expect(')');
    return inner;
  }
  if (text.take('[')) return parseArray(text, names);
  if (text.take('{')) return parseObject(text, names);
  if (text.take('-')) return binary(constant(0), parsePostfix(text, names), (a, b, { work }) => subtract(a, b, work));
  const variable = text.match(VARIABLE);
  if (variable !== undefined) return parseVariable(text, names, variable, start);
  const format = text.match(/@[a-z0-9]+/y);
  if (format !== undefined) return FORMATS.get(format) ?? text.refuse(`the format ${format}`, start);
  const word = text.match(WORD);
  if (word === undefined) return text.fail(text.isAtEnd ? 'it ends too early' : `${text.peek()} is not expected here`);
  return parseWord(text, names, word, start);
}

function parseWord(text: QueryText, names: Names, word: string, start: number): JqFilter {
  if (REFUSED.has(word)) return text.refuse(word, start, INSTEAD);
  if (word === 'if') return parseIf(text, names);
  if (word === 'try') {
    const body = parsePostfix(text, names);
    return attempt(body, takeWord(text, 'catch') ? parsePostfix(text, names) : undefined);
  }
  if (word === 'null' || word === 'true' || word === 'false') return constant(word === 'null' ? null : word === 'true');
  if (KEYWORDS.has(word)) return text.fail(`${word} is not expected here`, start);
  const args: JqFilter[] = [];
  skip(text);
  if (text.take('(')) {
    do args.push(parsePipe(text, names));
    while (takeSymbol(text, ';', /^$/));
    skip(text);
    text.expect(')');
  }
  return callFunction(text, word, args, start);
}

function parseVariable(text: QueryText, names: Names, name: string, start: number): JqFilter {
  if (name === '$ENV' || name === '$__loc__') return text.refuse(name, start);
  if (!names.variables.has(name)) return text.fail(`${name} is not defined`, start);
  return function* (_input, { variables }) {
    yield variables.get(name) as Json;
  };
}

function parseIf(text: QueryText, names: Names): JqFilter {
  return text.nested(() => {
    const condition = parsePipe(text, names);
    if (!takeWord(text, 'then')) text.fail('then is missing');
    const yes = parsePipe(text, names);
    let no = identity;
    if (takeWord(text, 'elif')) no = parseIf(text, names);
    else {
      if (takeWord(text, 'else')) no = parsePipe(text, names);
      if (!takeWord(text, 'end')) text.fail('end is missing');
    }
    const [asked, first, second] = [singleOf(condition), singleOf(yes), singleOf(no)];
    if (asked !== undefined && first !== undefined && second !== undefined) {
      return ofSingle((input, scope) => (isTruthy(asked(input, scope)) ? first : second)(input, scope));
    }
    return function* (input, scope) {
      for (const one of condition(input, scope)) yield* (isTruthy(one) ? yes : no)(input, scope);
    };
  });
}

function parseArray(text: QueryText, names: Names): JqFilter {
  skip(text);
  if (text.take(']')) return constant([]);
  const inner = parsePipe(text, names);
  skip(text);
  text.expect(']');
  return function* (input, scope) {
    const values: Json[] = [];
    for (const one of inner(input, scope)) {
      scope.work.spend(1);
      values.push(one);
    }
    yield values;
  };
}

type Entry = Readonly<{ key: JqFilter; value: JqFilter }>;

function parseObject(text: QueryText, names: Names): JqFilter {
  const entries: Entry[] = [];
  skip(text);
  if (!text.take('}')) {
    do entries.push(parseEntry(text, names));
    while (takeSymbol(text, ',', /^$/));
    skip(text);
    text.expect('}');
  }
  return function* build(input, scope, at = 0, built: ReadonlyArray<readonly [string, Json]> = []): Iterable<Json> {
    const entry = entries[at];
    if (entry === undefined) {
      yield objectOf(built);
      return;
    }
    for (const key of entry.key(input, scope)) {
      if (typeof key !== 'string') throw new JqError('the name of a member is no text');
      for (const value of entry.value(input, scope)) {
        scope.work.spend(1 + built.length);
        yield* build(input, scope, at + 1, [...built, [key, value]]);
      }
    }
  };
}

function parseEntry(text: QueryText, names: Names): Entry {
  skip(text);
  const start = text.at;
  const variable = text.match(VARIABLE);
  if (variable !== undefined) {
    return { key: constant(variable.slice(1)), value: parseVariable(text, names, variable, start) };
  }
  let key: JqFilter;
  if (text.take('(')) {
    key = parsePipe(text, names);
    skip(text);
    text.expect(')');
  } else if (text.take('"')) key = parseText(text, names);
  else key = constant(text.match(WORD) ?? text.fail('the name of a member is missing'));
  skip(text);
  if (!text.take(':')) return { key, value: indexed(identity, key) };
  return { key, value: parsePipe(text, names, false) };
}

function parseBrackets(text: QueryText, names: Names, term: JqFilter): JqFilter {
  skip(text);
  if (text.take(']')) {
    const isOptional = takeOptional(text);
    return function* (input, scope) {
      for (const one of term(input, scope)) {
        for (const part of orNothing(isOptional, () => iterate(one))) {
          scope.work.spend(1);
          yield part;
        }
      }
    };
  }
  const from = text.peek() === ':' ? constant(null) : parsePipe(text, names);
  skip(text);
  if (!text.take(':')) {
    text.expect(']');
    return indexed(term, from, takeOptional(text));
  }
  skip(text);
  const to = text.peek() === ']' ? constant(null) : parsePipe(text, names);
  skip(text);
  text.expect(']');
  const isOptional = takeOptional(text);
  return function* (input, scope) {
    for (const one of term(input, scope)) {
      for (const end of to(input, scope))
        for (const start of from(input, scope)) {
          yield* orNothing(isOptional, () => [slice(one, start, end, scope.work)]);
        }
    }
  };
}

/** `?` right behind an index is about that index alone. */
function takeOptional(text: QueryText): boolean {
  let isOptional = false;
  skip(text);
  while (text.take('?')) {
    isOptional = true;
    skip(text);
  }
  return isOptional;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** Behind the opening quote; `\(…)` puts values in. */
function parseText(text: QueryText, names: Names): JqFilter {
  const start = text.at - 1;
  const parts: JqFilter[] = [];
  let plain = '';
  while (!text.take('"')) {
    if (text.isAtEnd) text.fail('a text has no end', start);
    if (text.take('\\(')) {
      parts.push(constant(plain), parsePipe(text, names));
      plain = '';
      skip(text);
      text.expect(')');
    } else if (text.take('\\u')) {
      const digits = text.match(/[0-9A-Fa-f]{4}/y) ?? text.fail('\\u wants four hexadecimal digits');
      plain += String.fromCharCode(Number.parseInt(digits, 16));
    } else if (text.take('\\')) {
      const char = text.source[text.at++] ?? '';
      plain += ESCAPES[char] ?? text.fail(`\\${char} is no escape`, text.at - 2);
    } else plain += text.source[text.at++];
  }
  if (parts.length === 0) return constant(plain);
  parts.push(constant(plain));
  return parts
    .map((part): JqFilter => asText(part))
    .reduce((left, right) => binary(left, right, (a, b, { work }) => add(a, b, work)));
}

const asText = (part: JqFilter): JqFilter =>
  function* (input, scope) {
    for (const one of part(input, scope)) yield textOf(one, scope.work);
  };

/** Behind `term as`. */
function parseBinding(text: QueryText, names: Names, source: JqFilter): JqFilter {
  skip(text);
  const at = text.at;
  const name = text.match(VARIABLE) ?? text.refuse('taking values apart by a pattern', at);
  skip(text);
  text.expect('|');
  const body = parsePipe(text, { variables: new Set([...names.variables, name]) });
  return function* (input, scope) {
    for (const value of source(input, scope)) {
      yield* body(input, { ...scope, variables: new Map([...scope.variables, [name, value]]) });
    }
  };
}
