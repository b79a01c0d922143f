// What a configuration file becomes before anybody knows what its keys mean: a value, and the lines where its keys are.

import { AppError } from '#proto/errors.ts';

export type Format = 'json' | 'toml' | 'yaml';
export interface ConfigText {
  readonly text: string;
  readonly format: Format;
}

export type KeyPath = readonly string[];

export interface Document {
  /** Maps, lists, texts, numbers, booleans and null. */
  readonly value: unknown;
  /** Line of a key, counted from 1; of the nearest known one above it; null where none is known. */
  readonly lineOf: (path: KeyPath) => number | null;
}

/** Deeper nesting is nobody's configuration, and readers of it are recursive. */
export const MAX_DEPTH = 64;

export const EMPTY_DOCUMENT: Document = { value: {}, lineOf: () => null };

/** Fault in the grammar of the file. `line` is null where the parser does not say. */
export function syntaxError(message: string, line: number | null, cause?: unknown): AppError {
  const at = line === null ? '' : `line ${line}: `;
  return new AppError('CONFIG_INVALID', `${at}${message}`, cause === undefined ? {} : { cause });
}

export function hasTemplate(text: string): boolean {
  return /\{[{%#]/.test(text);
}

/** Lines by path, for parsers that meet each key once. */
export class LineMap {
  readonly #lines = new Map<string, number>();

  add(path: KeyPath, line: number): void {
    const name = path.join('\0');
    if (!this.#lines.has(name)) this.#lines.set(name, line);
  }

  readonly find = (path: KeyPath): number | null => {
    for (let length = path.length; length > 0; length--) {
      const line = this.#lines.get(path.slice(0, length).join('\0'));
      if (line !== undefined) return line;
    }
    return null;
  };
}

/** Line of an offset, counted from 1. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at !== -1 && at < offset; at = text.indexOf('\n', at + 1)) line++;
  return line;
}

/** Loaded by extension; TOML and YAML only when such a file is read. Throws CONFIG_INVALID with the line. */
export async function parseDocument(text: string, format: Format): Promise<Document> {
  switch (format) {
    case 'json':
      return (await import('./json.ts')).parseJson(text);
    case 'toml':
      return (await import('./toml.ts')).parseTomlDocument(text);
    case 'yaml':
      return (await import('./yaml.ts')).parseYamlDocument(text);
  }
}
