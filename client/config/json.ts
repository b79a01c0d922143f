// Strict JSON (RFC 8259) with the line of every key. A key twice in one map is an error: JSON.parse would forget one.

import { type Document, type KeyPath, LineMap, lineAt, MAX_DEPTH, syntaxError } from './document.ts';

const SPACE = /[ \t\r\n]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: JSON forbids them in strings
const STRING = /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

export function parseJson(text: string): Document {
  const parser = new JsonParser(text);
  return { value: parser.document(), lineOf: parser.lines.find };
}

class JsonParser {
  readonly lines = new LineMap();
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  document(): unknown {
    const value = this.#value([]);
    this.#take(SPACE);
    if (this.#at < this.#text.length) this.#fail('nothing may follow the configuration');
    return value;
  }

  #value(path: KeyPath): unknown {
    if (path.length > MAX_DEPTH) this.#fail(`nested deeper than ${MAX_DEPTH}`);
    this.#take(SPACE);
    const char = this.#text[this.#at];
    if (char === '{') return this.#map(path);
    if (char === '[') return this.#list(path);
    const token = this.#take(STRING) ?? this.#take(NUMBER) ?? this.#take(WORD);
    return token === null ? this.#fail('a value is missing') : JSON.parse(token);
  }

  #map(path: KeyPath): Record<string, unknown> {
    const map: Record<string, unknown> = {};
    this.#at++;
    if (this.#has('}')) return map;
    do {
      this.#take(SPACE);
      const start = this.#at;
      const token = this.#take(STRING) ?? this.#fail('a key in double quotes is missing');
      const name: string = JSON.parse(token);
      if (Object.hasOwn(map, name)) this.#fail(`the key ${token} is there twice`, start);
      const keyPath = [...path, name];
      this.lines.add(keyPath, lineAt(this.#text, start));
      if (!this.#has(':')) this.#fail('a colon is missing after the key');
      // Defined, not assigned: the key may be called __proto__.
      const value = this.#value(keyPath);
      Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
    } while (this.#has(','));
    if (!this.#has('}')) this.#fail('a comma or } is missing');
    return map;
  }

  #list(path: KeyPath): unknown[] {
    const list: unknown[] = [];
    this.#at++;
    if (this.#has(']')) return list;
    do list.push(this.#value([...path, String(list.length)]));
    while (this.#has(','));
    if (!this.#has(']')) this.#fail('a comma or ] is missing');
    return list;
  }

  #has(char: string): boolean {
    this.#take(SPACE);
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) return null;
    this.#at += match[0].length;
    return match[0];
  }

  #fail(message: string, at = this.#at): never {
    const found = at >= this.#text.length ? 'the end' : JSON.stringify(this.#text.slice(at, at + 1));
    throw syntaxError(`${message}, found ${found}`, lineAt(this.#text, at));
  }
}
