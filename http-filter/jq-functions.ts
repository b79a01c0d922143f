// Calls in jq programs. What loops without an end, reads anything but its input or changes it is refused by name; so are names
// that jq does not have.

import { RE2JS, RE2JSException } from 're2js';
import type { JqFilter, Scope } from './jq.ts';
import { demandOfFunction, demandOfTest } from './jq-demands.ts';
import { literals, ofSingle, singleOf } from './jq-syntax.ts';
import { fromEntries, MANY, ONES, ofOne, refuse, TWOS, toEntries } from './jq-tables.ts';
import { isTruthy, iterate, JqError } from './jq-value.ts';
import type { Json } from './json-value.ts';
import type { QueryText } from './query-text.ts';

/** Functions of jq that are not offered here. */
const REFUSED = new Set(
  `ascii bsearch builtins capture combinations date dateadd datesub debug del delpaths env fromdate fromstream getpath gmtime
   group_by gsub halt halt_error implode infinite input input_filename inputs isempty leaf_paths limit localtime match max_by
   min_by mktime modulemeta nan now nth path paths range repeat scan setpath significand sort_by splits stderr strflocaltime
   strftime strptime sub todate tostream transpose truncate_stream unique_by until walk while IN INDEX`.split(/\s+/),
);

/** Their arguments are programs of their own. */
const FORMS: Readonly<Record<string, (args: readonly JqFilter[]) => JqFilter | undefined>> = {
  map: ([each]) =>
    each &&
    function* (input, scope) {
      yield iterate(input).flatMap((one) => taken(each(one, scope), scope));
    },
  select: ([holds]) =>
    holds &&
    function* (input, scope) {
      for (const one of holds(input, scope)) if (isTruthy(one)) yield input;
    },
  any: (args) => quantifier(args, true),
  all: (args) => quantifier(args, false),
  first: ([each]) =>
    each &&
    function* (input, scope) {
      for (const one of each(input, scope)) {
        yield one;
        return;
      }
    },
  error: ([message]) =>
    message &&
    ((input, scope) => {
      for (const one of message(input, scope)) throw new JqError(one);
      return [];
    }),
  with_entries: ([each]) =>
    each &&
    function* (input, scope) {
      const entries = iterate(toEntries(input, scope.work)).flatMap((one) => taken(each(one, scope), scope));
      yield fromEntries(entries, scope.work);
    },
};

function taken(outputs: Iterable<Json>, { work }: Scope): Json[] {
  const values: Json[] = [];
  for (const one of outputs) {
    work.spend(1);
    values.push(one);
  }
  return values;
}

function quantifier(args: readonly JqFilter[], decisive: boolean): JqFilter | undefined {
  const holds = args.at(-1);
  if (holds === undefined || args.length > 2) return undefined;
  const source = args.length === 2 ? (args[0] as JqFilter) : (input: Json) => iterate(input);
  return function* (input, scope) {
    for (const one of source(input, scope)) {
      for (const answer of holds(one, scope)) {
        scope.work.spend(1);
        if (isTruthy(answer) === decisive) {
          yield decisive;
          return;
        }
      }
    }
    yield !decisive;
  };
}

/** A function with its arguments, by name and number. */
export function callFunction(text: QueryText, name: string, args: readonly JqFilter[], start: number): JqFilter {
  const own = <Value>(table: Readonly<Record<string, Value>>): Value | undefined =>
    Object.hasOwn(table, name) ? table[name] : undefined;
  const [argument] = args;
  if (argument === undefined) {
    const many = own(MANY);
    if (many !== undefined) return many;
    const make = own(ONES);
    if (make !== undefined) return ofOne(make);
  }
  const form = args.length > 0 ? own(FORMS)?.(args) : undefined;
  if (form !== undefined && (args.length === 1 || name === 'any' || name === 'all')) return form;
  const two = own(TWOS);
  if (two !== undefined && argument !== undefined && args.length === 1) {
    const single = singleOf(argument);
    if (single !== undefined) {
      const asked = ofSingle((input, scope) => {
        const value = single(input, scope);
        scope.work.spend(1);
        return two(input, value, scope.work);
      });
      return demandOfFunction(asked, name, literals.get(argument));
    }
    return function* (input, scope) {
      for (const value of argument(input, scope)) {
        scope.work.spend(1);
        yield two(input, value, scope.work);
      }
    };
  }
  if (name === 'test' && (args.length === 1 || args.length === 2)) return testFunction(text, args, start);
  if (REFUSED.has(name)) return text.refuse(name, start);
  return text.fail(
    `there is no function ${name} with ${args.length} argument${args.length === 1 ? '' : 's'} here`,
    start,
    'functions are such as test, startswith, endswith, contains, split, length, any and all',
  );
}

/** `test(re)` and `test(re; flags)`: the pattern and its flags are texts in the program, so that they are compiled once. */
function testFunction(text: QueryText, args: readonly JqFilter[], start: number): JqFilter {
  const [source, flags = ''] = args.map((arg) => {
    const value = literals.get(arg);
    return typeof value === 'string' ? value : text.refuse('test with a pattern that is no plain text', start);
  });
  if (source === undefined) return text.fail('test wants a pattern', start);
  if (!/^[gins]*$/.test(flags)) return text.refuse(`test with the flags ${JSON.stringify(flags)}`, start);
  const options = `${flags.includes('i') ? 'i' : ''}${flags.includes('s') ? 's' : ''}`;
  const pattern = compileRegex(text, options, source, start);
  const factor = 1 + (source.length >> 4);
  const asked = ofOne((input, work) => {
    if (typeof input !== 'string') throw refuse('cannot be matched', input);
    work.spendOnText(input.length * factor);
    return pattern.test(input);
  });
  return demandOfTest(asked, source);
}

function compileRegex(text: QueryText, options: string, source: string, start: number): RE2JS {
  try {
    return RE2JS.compile(options === '' ? source : `(?${options})${source}`);
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    return text.failPattern(source, error, start);
  }
}
