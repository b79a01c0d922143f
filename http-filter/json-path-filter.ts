// The conditions of JSONPath's filter selectors (RFC 9535 section 2.3.5): tests, comparisons and functions, typed as the RFC
// types them. What is not well-typed is refused when the filter is made.

import { type PathQuery, type PathWorld, readQuery, readString } from './json-path.ts';
import { functionCall } from './json-path-functions.ts';
import { compareTexts, isEqual, type Json } from './json-value.ts';
import type { QueryText } from './query-text.ts';

export const NOTHING = Symbol('Nothing');
export type Value = Json | typeof NOTHING;

export type Condition = (node: Json, world: PathWorld) => boolean;

/** What stands on a side of a comparison, or as an argument. */
export type Operand =
  | Readonly<{ kind: 'value'; value: (node: Json, world: PathWorld) => Value; isLiteral: boolean }>
  | Readonly<{ kind: 'logical'; holds: Condition }>
  | Readonly<{ kind: 'query'; query: PathQuery }>;

/** `a || b`, the whole of a condition. */
export function logicalOr(text: QueryText): Condition {
  return text.nested(() => {
    const parts = [logicalAnd(text)];
    while (takeOperator(text, '||')) parts.push(logicalAnd(text));
    return parts.length === 1 ? (parts[0] as Condition) : (node, world) => parts.some((part) => part(node, world));
  });
}

function logicalAnd(text: QueryText): Condition {
  const parts = [basic(text)];
  while (takeOperator(text, '&&')) parts.push(basic(text));
  return parts.length === 1 ? (parts[0] as Condition) : (node, world) => parts.every((part) => part(node, world));
}

/** An operator between blanks; blanks stay where there is none. */
function takeOperator(text: QueryText, operator: string): boolean {
  const before = text.at;
  text.skipBlanks();
  if (!text.take(operator)) {
    text.at = before;
    return false;
  }
  text.skipBlanks();
  return true;
}

function basic(text: QueryText): Condition {
  const isNegated = text.take('!');
  if (isNegated) text.skipBlanks();
  let condition: Condition;
  if (text.take('(')) {
    text.skipBlanks();
    condition = logicalOr(text);
    text.skipBlanks();
    text.expect(')');
  } else {
    const start = text.at;
    const left = readOperand(text);
    const compare = isNegated ? undefined : readComparison(text);
    condition = compare === undefined ? asTest(text, left, start) : comparison(text, left, compare, start);
  }
  return isNegated ? (node, world) => !condition(node, world) : condition;
}

function asTest(text: QueryText, operand: Operand, at: number): Condition {
  if (operand.kind === 'logical') return operand.holds;
  if (operand.kind === 'value') return text.fail('this value is compared with nothing', at);
  const { query } = operand;
  return (node, world) => query.run(node, world).length > 0;
}

const COMPARISONS = ['==', '!=', '<=', '>=', '<', '>'] as const;
type Comparison = (typeof COMPARISONS)[number];

function readComparison(text: QueryText): Comparison | undefined {
  return COMPARISONS.find((operator) => takeOperator(text, operator));
}

function comparison(text: QueryText, leftOperand: Operand, operator: Comparison, at: number): Condition {
  const left = asValue(text, leftOperand, at);
  const rightAt = text.at;
  const right = asValue(text, readOperand(text), rightAt);
  return (node, world) => compare(left(node, world), operator, right(node, world), world);
}

/** An operand where one value is wanted. */
export function asValue(text: QueryText, operand: Operand, at: number): (node: Json, world: PathWorld) => Value {
  if (operand.kind === 'value') return operand.value;
  if (operand.kind === 'logical') return text.fail('the result of this function is true or false and no value', at);
  const { query } = operand;
  if (!query.isSingular) return text.fail('this query may have several results where one value is wanted', at);
  return (node, world) => {
    const found = query.run(node, world);
    return found.length === 0 ? NOTHING : (found[0] as Json);
  };
}

function compare(left: Value, operator: Comparison, right: Value, world: PathWorld): boolean {
  world.work.spend(1);
  switch (operator) {
    case '==':
      return areSame(left, right, world);
    case '!=':
      return !areSame(left, right, world);
    case '<':
      return isLess(left, right, world);
    case '>':
      return isLess(right, left, world);
    case '<=':
      return isLess(left, right, world) || areSame(left, right, world);
    case '>=':
      return isLess(right, left, world) || areSame(left, right, world);
  }
}

const areSame = (left: Value, right: Value, { work }: PathWorld): boolean =>
  left === NOTHING || right === NOTHING ? left === right : isEqual(left, right, work);

function isLess(left: Value, right: Value, { work }: PathWorld): boolean {
  if (typeof left === 'number' && typeof right === 'number') return left < right;
  return typeof left === 'string' && typeof right === 'string' && compareTexts(left, right, work) < 0;
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /[a-z][a-z0-9_]*/y;

/** A literal, a query, or a function. */
export function readOperand(text: QueryText): Operand {
  const char = text.peek();
  if (char === '$' || char === '@') return { kind: 'query', query: readQuery(text) };
  if (char === '"' || char === "'") return literal(readString(text));
  const number = text.match(NUMBER);
  if (number !== undefined) return literal(Number(number));
  const start = text.at;
  const word = text.match(WORD);
  if (word === 'true' || word === 'false') return literal(word === 'true');
  if (word === 'null') return literal(null);
  if (word === undefined) text.fail('a query, a value or a function is missing');
  return functionCall(text, word, start);
}

const literal = (value: Json): Operand => ({ kind: 'value', value: () => value, isLiteral: true });
