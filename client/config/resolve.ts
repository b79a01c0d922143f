// From a file's value, flags and variables to the configuration: walks the schema once and finds all faults at once.
// A flag or variable wins over the file, the file over the default.

import type { Document, KeyPath } from './document.ts';
import { nearest } from './nearest.ts';
import type { EnvName, Key, Keys, Section, Status } from './schema/dsl.ts';
import { type Config, root } from './schema/root.ts';
import { isPlainObject } from './schema/values.ts';

/** Where a value was set. */
export type Source =
  | { readonly kind: 'file'; readonly line: number | null }
  | { readonly kind: 'variable'; readonly name: string }
  | { readonly kind: 'flag'; readonly name: string };

export type Overrides = Readonly<Record<string, string | boolean | undefined>>;

export interface Resolution {
  /** Holds defaults in place of what is at fault. */
  config: Config;
  /** One sentence each: place, what was found, what to do. */
  faults: string[];
  warnings: string[];
  /** Of every key that somebody set, by its dotted path. */
  sources: ReadonlyMap<string, Source>;
}

export interface ResolveInput {
  document: Document;
  flags: Overrides;
  env: NodeJS.ProcessEnv;
}

export function resolve(input: ResolveInput): Resolution {
  const walk = new Walk(input);
  const config = walk.section(root, input.document.value, [], null) as Config;
  return { config, faults: walk.faults, warnings: walk.warnings, sources: walk.sources };
}

/** "feature.fs.mode (line 4)" */
export function placeOf(path: string, source: Source | undefined): string {
  if (source === undefined) return path;
  if (source.kind === 'file') return source.line === null ? path : `${path} (line ${source.line})`;
  return `${path} (${source.kind} ${source.name})`;
}

const WORKS: Status = { kind: 'works' };
/** Longer ones are cut in messages. */
const MAX_SHOWN = 80;

class Walk {
  readonly faults: string[] = [];
  readonly warnings: string[] = [];
  readonly sources = new Map<string, Source>();
  readonly #input: ResolveInput;

  constructor(input: ResolveInput) {
    this.#input = input;
  }

  section(node: Section<Keys>, value: unknown, path: KeyPath, inherited: Status | null): Record<string, unknown> {
    const status = node.status ?? inherited;
    const given = this.#expand(node, value, path);
    for (const name of Object.keys(given)) {
      if (!Object.hasOwn(node.keys, name)) this.#unknownKey(node, name, [...path, name]);
    }
    const resolved: Record<string, unknown> = {};
    for (const [name, child] of Object.entries(node.keys)) {
      const found = Object.hasOwn(given, name) ? given[name] : undefined;
      const childPath = [...path, name];
      resolved[name] =
        child.node === 'section'
          ? this.section(child, found, childPath, status)
          : this.#key(child, found, childPath, child.status ?? status ?? WORKS);
    }
    return resolved;
  }

  #expand(node: Section<Keys>, value: unknown, path: KeyPath): Readonly<Record<string, unknown>> {
    if (value === undefined || value === null) return {};
    for (const short of node.shorts) {
      const expanded = short.expand(value);
      if (expanded !== null) return expanded;
    }
    if (isPlainObject(value)) return value;
    const forms = ['a map', ...node.shorts.map((short) => short.doc)].join(', ');
    const place = path.length === 0 ? 'the configuration' : this.#inFile(path);
    // What a list holds may be a variable's value.
    const found = Array.isArray(value) ? 'a list' : describe(value);
    this.faults.push(`${place}: found ${found}, wants ${forms}`);
    return {};
  }

  #unknownKey(node: Section<Keys>, name: string, path: KeyPath): void {
    const known = [...Object.keys(node.keys), ...node.shorts.flatMap((short) => short.words ?? [])];
    const near = nearest(name, known);
    const advice = near === null ? (elsewhere(name) ?? `known here are ${known.join(', ')}`) : `did you mean ${near}?`;
    this.faults.push(`${this.#inFile(path)}: no such key; ${advice}`);
  }

  #key(node: Key<unknown>, inFile: unknown, path: KeyPath, status: Status): unknown {
    const name = path.join('.');
    const override = this.#override(node);
    const source: Source | null =
      override?.source ?? (inFile === undefined ? null : { kind: 'file', line: this.#input.document.lineOf(path) });
    if (source === null) return node.default;
    this.sources.set(name, source);
    const value = override === null ? inFile : override.value;
    const reading = node.type.read(value);
    if ('bad' in reading) {
      this.faults.push(`${placeOf(name, source)}: ${fault(node, value, reading.bad)}`);
      return node.default;
    }
    this.#checkStatus(node, { read: reading.ok, given: value }, placeOf(name, source), status);
    return reading.ok;
  }

  #checkStatus(node: Key<unknown>, value: { read: unknown; given: unknown }, place: string, status: Status): void {
    if (status.kind === 'works' || status.kind === 'ignored') return;
    if (node.accepts.some((one) => isSame(one, value.read))) return;
    if (status.kind === 'no-effect') {
      this.warnings.push(`${place} has no effect: ${status.why}`);
      return;
    }
    if (isSame(node.default, value.read)) return;
    const found = node.isSecret ? 'this' : describe(value.given);
    const isShort = typeof node.default === 'string' || typeof node.default === 'boolean';
    const instead = isShort ? ` or set it to ${JSON.stringify(node.default)}` : '';
    this.faults.push(`${place}: ${found} requires the operator, which this product does not have; remove it${instead}`);
  }

  #override(node: Key<unknown>): { value: unknown; source: Source } | null {
    const { flags, env } = this.#input;
    for (const variable of node.env) {
      const name = nameOf(variable);
      const value = flags[name];
      if (value === undefined) continue;
      const read = readVariable(node, variable, String(value));
      if (read !== undefined) return { value: read, source: { kind: 'flag', name: node.flag ?? name } };
    }
    for (const variable of node.env) {
      const name = nameOf(variable);
      const text = env[name];
      if (text === undefined) continue;
      const read = readVariable(node, variable, text);
      if (read !== undefined) return { value: read, source: { kind: 'variable', name } };
    }
    return null;
  }

  #inFile(path: KeyPath): string {
    return placeOf(path.join('.'), { kind: 'file', line: this.#input.document.lineOf(path) });
  }
}

function nameOf(variable: EnvName): string {
  return typeof variable === 'string' ? variable : variable.name;
}

function readVariable(node: Key<unknown>, variable: EnvName, text: string): unknown {
  return typeof variable === 'string' ? node.type.fromText(text) : variable.read(text);
}

function fault(node: Key<unknown>, value: unknown, bad: string): string {
  const near = typeof value === 'string' && node.type.words ? nearest(value, node.type.words) : null;
  const found = node.isSecret ? typeName(value) : describe(value);
  return `found ${found}, ${bad}${near === null ? '' : `; did you mean ${near}?`}`;
}

/** A key of this name in another section. */
function elsewhere(name: string): string | null {
  const found: string[] = [];
  const search = (node: Section<Keys>, path: string) => {
    for (const [key, child] of Object.entries(node.keys)) {
      if (key === name) found.push(path + key);
      if (child.node === 'section') search(child, `${path}${key}.`);
    }
  };
  search(root, '');
  return found.length === 0 ? null : `did you mean ${found.slice(0, 3).join(' or ')}?`;
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  const shown = JSON.stringify(value) ?? typeName(value);
  return `${typeName(value)} ${shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}…` : shown}`;
}

function typeName(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'the list';
  switch (typeof value) {
    case 'string':
      return 'the text';
    case 'number':
    case 'bigint':
      return 'the number';
    case 'boolean':
      return 'the boolean';
    default:
      return 'the map';
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
