// The functions of JSONPath (RFC 9535 section 2.4), and `typeof`, which users of http_filter know.

import { RE2JS, RE2JSException } from 're2js';
import type { PathQuery, PathWorld } from './json-path.ts';
import { asValue, NOTHING, type Operand, readOperand, type Value } from './json-path-filter.ts';
import { isArray, isObject, type Json } from './json-value.ts';
import type { QueryText } from './query-text.ts';

type Argument = Readonly<{ operand: Operand; at: number }>;
type ValueOf = (node: Json, world: PathWorld) => Value;

const value = (of: ValueOf): Operand => ({ kind: 'value', value: of, isLiteral: false });

const FUNCTIONS: Readonly<
  Record<string, Readonly<{ arity: number; make: (text: QueryText, args: readonly Argument[]) => Operand }>>
> = {
  length: {
    arity: 1,
    make: (text, [one]) => {
      const of = operandValue(text, one);
      return value((node, world) => lengthOf(of(node, world), world));
    },
  },
  count: {
    arity: 1,
    make: (text, [one]) => {
      const query = queryOf(text, one);
      return value((node, world) => query.run(node, world).length);
    },
  },
  value: {
    arity: 1,
    make: (text, [one]) => {
      const query = queryOf(text, one);
      return value((node, world) => {
        const found = query.run(node, world);
        return found.length === 1 ? (found[0] as Json) : NOTHING;
      });
    },
  },
  typeof: {
    arity: 1,
    make: (text, [one]) => {
      const of = operandValue(text, one);
      return value((node, world) => typeName(of(node, world)));
    },
  },
  match: { arity: 2, make: (text, args) => regex(text, args, true) },
  search: { arity: 2, make: (text, args) => regex(text, args, false) },
};

/** Behind the function's name. */
export function functionCall(text: QueryText, name: string, start: number): Operand {
  const known = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
  if (known === undefined) {
    return text.fail(`there is no function ${name}; there are ${Object.keys(FUNCTIONS).join(', ')}`, start);
  }
  if (!text.take('(')) text.fail(`${name} wants its arguments in parentheses`);
  const args = text.nested(() => readArguments(text));
  if (args.length !== known.arity) {
    text.fail(`${name} wants ${known.arity === 1 ? 'one argument' : `${known.arity} arguments`}`, start);
  }
  return known.make(text, args);
}

function readArguments(text: QueryText): Argument[] {
  const args: Argument[] = [];
  text.skipBlanks();
  if (text.take(')')) return args;
  do {
    text.skipBlanks();
    const at = text.at;
    args.push({ operand: readOperand(text), at });
    text.skipBlanks();
  } while (text.take(','));
  text.expect(')');
  return args;
}

function operandValue(text: QueryText, argument: Argument | undefined): ValueOf {
  const { operand, at } = argument as Argument;
  return asValue(text, operand, at);
}

function queryOf(text: QueryText, argument: Argument | undefined): PathQuery {
  const { operand, at } = argument as Argument;
  return operand.kind === 'query' ? operand.query : text.fail('this function wants a query', at);
}

function lengthOf(one: Value, { work }: PathWorld): Value {
  if (typeof one === 'string') {
    work.spendOnText(one.length);
    return [...one].length;
  }
  if (one === NOTHING) return NOTHING;
  if (isArray(one)) return one.length;
  return isObject(one) ? Object.keys(one).length : NOTHING;
}

function typeName(one: Value): string {
  if (one === NOTHING) return 'nothing';
  if (one === null) return 'null';
  if (isArray(one)) return 'array';
  return typeof one === 'boolean' ? 'bool' : typeof one;
}

function regex(text: QueryText, [subject, pattern]: readonly Argument[], isWhole: boolean): Operand {
  const of = operandValue(text, subject);
  const { operand, at } = pattern as Argument;
  const isLiteral = operand.kind === 'value' && operand.isLiteral;
  if (!isLiteral) text.refuse('a pattern that is no literal', at);
  const source = operand.value(null, NO_WORLD);
  if (typeof source !== 'string') return text.fail('a pattern is a text', at);
  const compiled = compileRegex(text, isWhole ? `\\A(?:${dotAsInJson(source)})\\z` : dotAsInJson(source), source, at);
  const factor = 1 + (source.length >> 4);
  return {
    kind: 'logical',
    holds: (node, world) => {
      const one = of(node, world);
      if (typeof one !== 'string') return false;
      world.work.spendOnText(one.length * factor);
      return compiled.test(one);
    },
  };
}

/** Literals look at nothing. */
const NO_WORLD = undefined as never;

/** In I-Regexp (RFC 9485) a dot is no line end. */
function dotAsInJson(source: string): string {
  return source.replace(/\\.|\[(?:\\.|[^\]\\])*\]|\./gs, (part) => (part === '.' ? '[^\\n\\r]' : part));
}

function compileRegex(text: QueryText, whole: string, source: string, at: number): RE2JS {
  try {
    return RE2JS.compile(whole);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    return text.failPattern(source, error, at);
  }
}
