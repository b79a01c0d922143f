// TOML through smol-toml. It does not tell where keys are, so their lines are found in the text: headers of tables and
// the beginnings of lines, which is where TOML has its keys but for inline tables; those share the line of their own key.

import { parse, TomlError } from 'smol-toml';
import { type Document, type KeyPath, LineMap, syntaxError } from './document.ts';

export function parseTomlDocument(text: string): Document {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    // Without the cause: its message holds an excerpt of the file, and causes are logged.
    if (error instanceof TomlError) throw syntaxError(firstLine(error.message), error.line);
    throw syntaxError(firstLine(String(error)), null);
  }
  let lines: LineMap | null = null;
  const lineOf = (path: KeyPath) => {
    lines ??= linesOf(text);
    return lines.find(path);
  };
  return { value, lineOf };
}

/** The excerpt of the file is below it. */
function firstLine(message: string): string {
  return (message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '');
}

const HEADER = /^\s*\[\[?([^\]]+)\]/;
const KEY = /^\s*((?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*'))*)\s*=/;
const PART = /[\w-]+|"(?:[^"\\]|\\.)*"|'[^']*'/g;

function linesOf(text: string): LineMap {
  const lines = new LineMap();
  let table: string[] = [];
  let isInText = false;
  for (const [index, line] of text.split('\n').entries()) {
    const header = isInText ? null : HEADER.exec(line);
    const key = isInText || header !== null ? null : KEY.exec(line);
    if (header !== null) table = parts(header[1] ?? '');
    const path = key === null ? table : [...table, ...parts(key[1] ?? '')];
    if (header !== null || key !== null) {
      for (let length = 1; length <= path.length; length++) lines.add(path.slice(0, length), index + 1);
    }
    const fences = line.split(/"""|'''/).length - 1;
    if (fences % 2 === 1) isInText = !isInText;
  }
  return lines;
}

function parts(dotted: string): string[] {
  return (dotted.match(PART) ?? []).map((part) => (/^["']/.test(part) ? part.slice(1, -1) : part));
}
