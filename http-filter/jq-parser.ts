// jq's operators, from what binds least to what binds most; each part becomes a function right away.

import type { JqFilter } from './jq.ts';
import { demandOfBoth, demandOfEqual, demandOfPipe } from './jq-demands.ts';
import {
  binary,
  identity,
  literals,
  type Names,
  type Operate,
  ofSingle,
  singleOf,
  skip,
  takeSymbol,
  takeWord,
} from './jq-syntax.ts';
import { parsePostfix } from './jq-terms.ts';
import { add, compare, divide, isTruthy, JqError, multiply, remainder, subtract } from './jq-value.ts';
import { isEqual } from './json-value.ts';
import type { QueryText } from './query-text.ts';

/** `a | b`, and `a as $x | b`. */
export function parsePipe(text: QueryText, names: Names, hasComma = true): JqFilter {
  return text.nested(() => {
    const first = hasComma ? parseComma(text, names) : parseAlternative(text, names);
    if (!takeSymbol(text, '|', /^\|=/)) {
      refuseAssignment(text);
      return first;
    }
    const second = parsePipe(text, names, hasComma);
    const [one, other] = [singleOf(first), singleOf(second)];
    if (one !== undefined && other !== undefined) {
      return demandOfPipe(
        ofSingle((input, scope) => other(one(input, scope), scope)),
        first,
        second,
      );
    }
    return function* (input, scope) {
      for (const one of first(input, scope)) yield* second(one, scope);
    };
  });
}

function refuseAssignment(text: QueryText): void {
  skip(text);
  const found = text.match(/(?:\/\/|[-+*/%|])?=(?!=)/y);
  if (found !== undefined) text.refuse(`assignment (${found})`, text.at - found.length, 'a comparison is written ==');
}

function parseComma(text: QueryText, names: Names): JqFilter {
  const parts = [parseAlternative(text, names)];
  while (takeSymbol(text, ',', /^$/)) parts.push(parseAlternative(text, names));
  if (parts.length === 1) return parts[0] as JqFilter;
  return function* (input, scope) {
    for (const part of parts) yield* part(input, scope);
  };
}

function parseAlternative(text: QueryText, names: Names): JqFilter {
  return text.nested(() => {
    const first = parseOr(text, names);
    if (!takeSymbol(text, '//', /^\/\/=/)) return first;
    const second = parseAlternative(text, names);
    return function* (input, scope) {
      let isFound = false;
      try {
        for (const one of first(input, scope)) {
          if (!isTruthy(one)) continue;
          isFound = true;
          yield one;
        }
      } catch (error) {
        if (!(error instanceof JqError)) throw error;
      }
      if (!isFound) yield* second(input, scope);
    };
  });
}

function parseOr(text: QueryText, names: Names): JqFilter {
  let left = parseAnd(text, names);
  while (takeWord(text, 'or')) left = logical(left, parseAnd(text, names), true);
  return left;
}

function parseAnd(text: QueryText, names: Names): JqFilter {
  let left = parseComparison(text, names);
  while (takeWord(text, 'and')) left = logical(left, parseComparison(text, names), false);
  return left;
}

/** @param decisive the value of the left side with which the right is not asked */
function logical(left: JqFilter, right: JqFilter, decisive: boolean): JqFilter {
  const [one, other] = [singleOf(left), singleOf(right)];
  if (one !== undefined && other !== undefined) {
    const both = ofSingle((input, scope) =>
      isTruthy(one(input, scope)) === decisive ? decisive : isTruthy(other(input, scope)),
    );
    return decisive ? both : demandOfBoth(both, left, right);
  }
  return function* (input, scope) {
    for (const one of left(input, scope)) {
      if (isTruthy(one) === decisive) yield decisive;
      else for (const other of right(input, scope)) yield isTruthy(other);
    }
  };
}

const EQUAL: Operate = (a, b, { work }) => isEqual(a, b, work);
const COMPARISONS: ReadonlyArray<readonly [string, Operate]> = [
  ['==', EQUAL],
  ['!=', (a, b, { work }) => !isEqual(a, b, work)],
  ['<=', (a, b, { work }) => compare(a, b, work) <= 0],
  ['>=', (a, b, { work }) => compare(a, b, work) >= 0],
  ['<', (a, b, { work }) => compare(a, b, work) < 0],
  ['>', (a, b, { work }) => compare(a, b, work) > 0],
];
const SUMS: ReadonlyArray<readonly [string, Operate]> = [
  ['+', (a, b, { work }) => add(a, b, work)],
  ['-', (a, b, { work }) => subtract(a, b, work)],
];
const PRODUCTS: ReadonlyArray<readonly [string, Operate]> = [
  ['*', (a, b, { work }) => multiply(a, b, work)],
  ['/', (a, b, { work }) => divide(a, b, work)],
  ['%', (a, b) => remainder(a, b)],
];

function takeOperator(text: QueryText, operators: ReadonlyArray<readonly [string, Operate]>): Operate | undefined {
  return operators.find(([symbol]) => takeSymbol(text, symbol, /^(?:[-+*/%]=|\/\/)/))?.[1];
}

function parseComparison(text: QueryText, names: Names): JqFilter {
  const left = parseSum(text, names);
  const operate = takeOperator(text, COMPARISONS);
  if (operate === undefined) return left;
  const right = parseSum(text, names);
  const compared = binary(left, right, operate);
  return operate === EQUAL ? demandOfEqual(compared, left, left === identity, literals.get(right)) : compared;
}

function parseSum(text: QueryText, names: Names): JqFilter {
  let left = parseProduct(text, names);
  for (let operate = takeOperator(text, SUMS); operate !== undefined; operate = takeOperator(text, SUMS)) {
    left = binary(left, parseProduct(text, names), operate);
  }
  return left;
}

function parseProduct(text: QueryText, names: Names): JqFilter {
  let left = parsePostfix(text, names);
  for (let operate = takeOperator(text, PRODUCTS); operate !== undefined; operate = takeOperator(text, PRODUCTS)) {
    left = binary(left, parsePostfix(text, names), operate);
  }
  return left;
}
