// YAML 1.2 through `yaml`: one document, keys that are texts, aliases within reason.

import { isMap, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { type Document, type KeyPath, LineMap, MAX_DEPTH, syntaxError } from './document.ts';

/** An alias of aliases of aliases makes gigabytes of a kilobyte. */
const MAX_ALIASES = 100;

export function parseYamlDocument(text: string): Document {
  const counter = new LineCounter();
  let value: unknown;
  const lines = new LineMap();
  try {
    const document = parseDocument(text, {
      lineCounter: counter,
      prettyErrors: false,
      uniqueKeys: true,
      logLevel: 'error',
    });
    const [error] = document.errors;
    if (error !== undefined) throw syntaxError(error.message.split('\n')[0] ?? '', counter.linePos(error.pos[0]).line);
    collect(document.contents, [], counter, lines);
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    if (error instanceof Error && error.name === 'AppError') throw error;
    throw syntaxError(String(error instanceof Error ? error.message : error), null, error);
  }
  return { value: value ?? {}, lineOf: lines.find };
}

function collect(node: unknown, path: KeyPath, counter: LineCounter, lines: LineMap): void {
  if (path.length > MAX_DEPTH) throw syntaxError(`nested deeper than ${MAX_DEPTH}`, null);
  if (!isMap(node)) return;
  for (const { key, value } of node.items) {
    const line = lineOf(key as Node, counter);
    if (!isScalar(key) || typeof key.value === 'object') throw syntaxError('a key must be a text', line);
    const keyPath = [...path, String(key.value)];
    if (line !== null) lines.add(keyPath, line);
    collect(value, keyPath, counter, lines);
  }
}

function lineOf(node: Node, counter: LineCounter): number | null {
  return node.range ? counter.linePos(node.range[0]).line : null;
}
