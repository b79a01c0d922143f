// What a pattern says in literal comparisons, for the supervisor, which knows no patterns. Each part of the answer either
// says exactly what a part of the pattern says (`isExact`) or is a condition without which it cannot match; then the
// client is asked. All parts together hold for every path that the pattern matches.

import { RuleOp } from '#proto/wire.ts';
import { append, type Pattern, type PatternNode } from './pattern.ts';

export interface Literal {
  readonly op: RuleOp;
  readonly text: string;
  readonly isExact: boolean;
}

/** More ways to write a pattern out than this and its alternatives are left to the RegExp. */
const MAX_BRANCHES = 32;

export function literalsOf(pattern: Pattern): Literal[] {
  const branches = expand(pattern.branches, MAX_BRANCHES) ?? [[{ kind: 'opaque' }]];
  const literals = withoutRepetition(branches.map((branch) => literalOf(join(branch))));
  return joinDirectories(literals);
}

/** Every way through the alternatives, or null where they are more than `limit`. */
function expand(branches: readonly (readonly PatternNode[])[], limit: number): PatternNode[][] | null {
  const all: PatternNode[][] = [];
  for (const branch of branches) {
    let ways: PatternNode[][] = [[]];
    for (const node of branch) {
      ways = ways.flatMap((way) => continuations(node, limit).map((next) => [...way, ...next]));
      if (ways.length > limit) return null;
    }
    all.push(...ways);
    if (all.length > limit) return null;
  }
  return all;
}

function continuations(node: PatternNode, limit: number): PatternNode[][] {
  if (node.kind !== 'alternatives') return [[node]];
  return expand(node.branches, limit) ?? [[{ kind: 'opaque' }]];
}

/** Neighbouring literals become one; an anchor in the middle is left to the RegExp. */
function join(branch: readonly PatternNode[]): PatternNode[] {
  const joined: PatternNode[] = [];
  for (const [index, node] of branch.entries()) {
    const isMisplaced = (node.kind === 'start' && index > 0) || (node.kind === 'end' && index < branch.length - 1);
    if (isMisplaced) joined.push({ kind: 'opaque' });
    else if (node.kind !== 'rest' || joined.at(-1)?.kind !== 'rest') append(joined, node);
  }
  return joined;
}

function literalOf(branch: PatternNode[]): Literal {
  const nodes = [...branch];
  const isAnchored = nodes[0]?.kind === 'start';
  if (isAnchored) nodes.shift();
  const isEnded = nodes.at(-1)?.kind === 'end';
  if (isEnded) nodes.pop();
  // At an end without an anchor, `.*` says nothing; at an anchor it takes the anchor away.
  const hasRestBefore = nodes[0]?.kind === 'rest';
  if (hasRestBefore) nodes.shift();
  const hasRestAfter = nodes.at(-1)?.kind === 'rest';
  if (hasRestAfter) nodes.pop();
  const atStart = isAnchored && !hasRestBefore;
  const atEnd = isEnded && !hasRestAfter;
  const [first] = nodes;
  const isRestOnly = hasRestBefore && nodes.length === 0;
  if (isRestOnly) return { op: RuleOp.ALWAYS, text: '', isExact: true };
  if (nodes.length === 0) return emptyBranch(atStart, atEnd);
  if (nodes.length === 1 && first?.kind === 'literal') {
    const op = atStart ? (atEnd ? RuleOp.EXACT : RuleOp.PREFIX) : atEnd ? RuleOp.SUFFIX : RuleOp.CONTAINS;
    return { op, text: first.text, isExact: true };
  }
  return necessary(nodes, atStart, atEnd);
}

function emptyBranch(atStart: boolean, atEnd: boolean): Literal {
  const isEmptyOnly = atStart && atEnd;
  return { op: isEmptyOnly ? RuleOp.EXACT : RuleOp.ALWAYS, text: '', isExact: true };
}

/** The best single literal that every match of the branch holds. */
function necessary(nodes: readonly PatternNode[], atStart: boolean, atEnd: boolean): Literal {
  const first = nodes[0];
  const last = nodes.at(-1);
  if (atStart && first?.kind === 'literal') return { op: RuleOp.PREFIX, text: first.text, isExact: false };
  if (atEnd && last?.kind === 'literal') return { op: RuleOp.SUFFIX, text: last.text, isExact: false };
  let longest = '';
  for (const node of nodes) {
    if (node.kind === 'literal' && node.text.length > longest.length) longest = node.text;
  }
  return { op: longest === '' ? RuleOp.ALWAYS : RuleOp.CONTAINS, text: longest, isExact: false };
}

function withoutRepetition(literals: readonly Literal[]): Literal[] {
  const byText = new Map<string, Literal>();
  for (const literal of literals) {
    const name = `${literal.op}:${literal.text}`;
    // The exact one says all that the other could ask.
    if (byText.get(name)?.isExact !== true) byText.set(name, literal);
  }
  return [...byText.values()];
}

/** `^/a$` with `^/a/` is one comparison. */
function joinDirectories(literals: readonly Literal[]): Literal[] {
  const isExactly = (op: RuleOp, text: string) =>
    literals.some((one) => one.isExact && one.op === op && one.text === text);
  return literals.flatMap((one) => {
    if (one.isExact && one.op === RuleOp.EXACT && isExactly(RuleOp.PREFIX, `${one.text}/`)) {
      return [{ op: RuleOp.DIR, text: one.text, isExact: true }];
    }
    const isJoined = one.isExact && one.op === RuleOp.PREFIX && one.text.endsWith('/');
    return isJoined && isExactly(RuleOp.EXACT, one.text.slice(0, -1)) ? [] : [one];
  });
}

/** Whether the comparison holds, as the supervisor makes it; `path` and the literal folded alike beforehand. */
export function holds(op: RuleOp, text: string, path: string): boolean {
  switch (op) {
    case RuleOp.ALWAYS:
      return true;
    case RuleOp.EXACT:
      return path === text;
    case RuleOp.DIR:
      return path.startsWith(text) && (path.length === text.length || path[text.length] === '/');
    case RuleOp.PREFIX:
      return path.startsWith(text);
    case RuleOp.SUFFIX:
      return path.endsWith(text);
    case RuleOp.CONTAINS:
      return path.includes(text);
  }
}

/** Lower case of ASCII letters and of nothing else: what the supervisor does. */
export function foldAscii(text: string): string {
  return /[A-Z]/.test(text) ? text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase()) : text;
}
