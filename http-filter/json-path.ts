// JSONPath (RFC 9535), compiled once and run on each body within a limit of work. What the RFC leaves to the reader and we do
// not offer: patterns of `match` and `search` that are no literal. One function more: `typeof`.

import { logicalOr } from './json-path-filter.ts';
import { isArray, isObject, type Json, memberOf } from './json-value.ts';
import { QueryText } from './query-text.ts';
import type { WorkLimit } from './work-limit.ts';

export type PathWorld = Readonly<{ root: Json; work: WorkLimit }>;

/** A query below `$` or `@`. */
export type PathQuery = Readonly<{
  run: (start: Json, world: PathWorld) => readonly Json[];
  /** At most one result (RFC 9535 section 2.3.5.1). */
  isSingular: boolean;
  isAbsolute: boolean;
}>;

type Selector = Readonly<{
  select: (node: Json, found: Json[], world: PathWorld) => void;
  isSingular: boolean;
}>;

type Segment = Readonly<{ selectors: readonly Selector[]; isDescendant: boolean }>;

/**
 * @param where the key that the user wrote it in, for messages
 * @throws AppError CONFIG_INVALID or UNSUPPORTED naming the part
 */
export function compileJsonPath(source: string, where: string): (root: Json, work: WorkLimit) => readonly Json[] {
  const text = new QueryText(source, where);
  if (text.peek() !== '$') text.fail('a JSONPath begins with $', 0, `$.${source.replace(/^\.*/, '')}`);
  const query = readQuery(text);
  if (!text.isAtEnd) text.fail(`${JSON.stringify(text.peek())} is not expected here`);
  return (root, work) => query.run(root, { root, work });
}

/** Reads `$…` or `@…`. */
export function readQuery(text: QueryText): PathQuery {
  const isAbsolute = text.peek() === '$';
  if (!isAbsolute && text.peek() !== '@') text.fail('a query begins with $ or @');
  text.at++;
  const segments: Segment[] = [];
  for (;;) {
    const before = text.at;
    text.skipBlanks();
    const segment = readSegment(text);
    if (segment === undefined) {
      text.at = before;
      break;
    }
    segments.push(segment);
  }
  return {
    isAbsolute,
    isSingular: segments.every(
      ({ isDescendant, selectors }) => !isDescendant && selectors.length === 1 && selectors[0]?.isSingular === true,
    ),
    run: (start, world) => {
      let nodes: readonly Json[] = [isAbsolute ? world.root : start];
      for (const segment of segments) nodes = follow(nodes, segment, world);
      return nodes;
    },
  };
}

function follow(nodes: readonly Json[], { selectors, isDescendant }: Segment, world: PathWorld): Json[] {
  const found: Json[] = [];
  const visit = (node: Json): void => {
    world.work.spend(1);
    for (const { select } of selectors) select(node, found, world);
    if (!isDescendant) return;
    for (const child of childrenOf(node)) if (typeof child === 'object' && child !== null) visit(child);
  };
  for (const node of nodes) visit(node);
  return found;
}

const childrenOf = (node: Json): readonly Json[] => (isArray(node) ? node : isObject(node) ? Object.values(node) : []);

function readSegment(text: QueryText): Segment | undefined {
  if (text.take('..')) {
    const selectors = text.peek() === '[' ? readBrackets(text) : [readShorthand(text)];
    return { isDescendant: true, selectors };
  }
  if (text.take('.')) return { isDescendant: false, selectors: [readShorthand(text)] };
  if (text.peek() === '[') return { isDescendant: false, selectors: readBrackets(text) };
  return undefined;
}

const NAME =
  /[A-Za-z_\u0080-\ud7ff\ue000-\uffff\u{10000}-\u{10ffff}][A-Za-z0-9_\u0080-\ud7ff\ue000-\uffff\u{10000}-\u{10ffff}]*/uy;

function readShorthand(text: QueryText): Selector {
  if (text.take('*')) return WILDCARD;
  const name = text.match(NAME);
  return name === undefined ? text.fail('a name or * is missing') : nameSelector(name);
}

function readBrackets(text: QueryText): Selector[] {
  return text.nested(() => {
    text.expect('[');
    const selectors: Selector[] = [];
    do {
      text.skipBlanks();
      selectors.push(readSelector(text));
      text.skipBlanks();
    } while (text.take(','));
    text.expect(']');
    return selectors;
  });
}

const INTEGER = /-?\d+/y;

function readSelector(text: QueryText): Selector {
  if (text.take('*')) return WILDCARD;
  if (text.peek() === '"' || text.peek() === "'") return nameSelector(readString(text));
  if (text.take('?')) {
    text.skipBlanks();
    return filterSelector(logicalOr(text));
  }
  const first = readInteger(text);
  const behind = text.at;
  text.skipBlanks();
  if (!text.take(':')) {
    text.at = behind;
    return first === undefined ? text.fail('a selector is missing') : indexSelector(first);
  }
  text.skipBlanks();
  const end = readInteger(text);
  text.skipBlanks();
  let step: number | undefined;
  if (text.take(':')) {
    text.skipBlanks();
    step = readInteger(text);
  }
  return sliceSelector(first, end, step ?? 1);
}

function readInteger(text: QueryText): number | undefined {
  const start = text.at;
  const digits = text.match(INTEGER);
  if (digits === undefined) return undefined;
  const value = Number(digits);
  if (/^-?0./.test(digits) || digits === '-0') text.fail(`${digits} is written in no way that JSONPath has`, start);
  if (!Number.isSafeInteger(value)) text.fail(`${digits} is beyond what JSON numbers hold`, start);
  return value;
}

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', '/': '/', '\\': '\\' };

/** A text in either kind of quotes (RFC 9535 section 2.3.1.1). */
export function readString(text: QueryText): string {
  const quote = text.peek();
  const start = text.at++;
  let value = '';
  for (;;) {
    if (text.isAtEnd) text.fail('a text has no end', start);
    const char = text.source[text.at++] as string;
    if (char === quote) break;
    if (char < ' ') text.fail('a control character is not written out', text.at - 1);
    value += char === '\\' ? readEscape(text, quote) : char;
  }
  if (/[\ud800-\udfff]/u.test(value)) text.fail('half of a surrogate pair', start);
  return value;
}

function readEscape(text: QueryText, quote: string): string {
  const char = text.source[text.at++] ?? '';
  if (char === quote) return quote;
  if (char === 'u') {
    const digits = text.match(/[0-9A-Fa-f]{4}/y) ?? text.fail('\\u wants four hexadecimal digits');
    return String.fromCharCode(Number.parseInt(digits, 16));
  }
  return ESCAPES[char] ?? text.fail(`\\${char} is no escape`, text.at - 2);
}

// ---- selectors

const WILDCARD: Selector = {
  isSingular: false,
  select: (node, found, { work }) => {
    const children = childrenOf(node);
    work.spend(children.length);
    for (const child of children) found.push(child);
  },
};

const nameSelector = (name: string): Selector => ({
  isSingular: true,
  select: (node, found) => {
    const value = isObject(node) ? memberOf(node, name) : undefined;
    if (value !== undefined) found.push(value);
  },
});

const indexSelector = (index: number): Selector => ({
  isSingular: true,
  select: (node, found) => {
    const value = isArray(node) ? node.at(index) : undefined;
    if (value !== undefined) found.push(value);
  },
});

/** RFC 9535 section 2.3.4.2.2. */
function sliceSelector(start: number | undefined, end: number | undefined, step: number): Selector {
  return {
    isSingular: false,
    select: (node, found, { work }) => {
      if (!isArray(node) || step === 0) return;
      const { length } = node;
      const from = start ?? (step > 0 ? 0 : length - 1);
      const to = end ?? (step > 0 ? length : -length - 1);
      const [normalFrom, normalTo] = [from, to].map((one) => (one < 0 ? length + one : one)) as [number, number];
      if (step > 0) {
        const last = Math.min(Math.max(normalTo, 0), length);
        for (let at = Math.min(Math.max(normalFrom, 0), length); at < last; at += step) found.push(node[at] as Json);
      } else {
        const last = Math.min(Math.max(normalTo, -1), length - 1);
        for (let at = Math.min(Math.max(normalFrom, -1), length - 1); at > last; at += step)
          found.push(node[at] as Json);
      }
      work.spend(length);
    },
  };
}

const filterSelector = (holds: (node: Json, world: PathWorld) => boolean): Selector => ({
  isSingular: false,
  select: (node, found, world) => {
    for (const child of childrenOf(node)) {
      world.work.spend(1);
      if (holds(child, world)) found.push(child);
    }
  },
});
