// What a description of the configuration is made of. One tree of these (root.ts) is the only place that knows the keys:
// reading, defaults, environment overrides, the JSON schema, the documentation and the type `Config` all come from it.

export type JsonSchema = { readonly [key: string]: unknown };

/** What a text or parsed value became, or what it should have been. */
export type Reading<T> = { readonly ok: T } | { readonly bad: string };

export interface ValueType<T> {
  /** For people, after "wants": `true or false`, `a list of texts`. */
  readonly name: string;
  readonly read: (value: unknown) => Reading<T>;
  /** The value that a file would hold in place of this text of a variable or flag. */
  readonly fromText: (text: string) => unknown;
  readonly json: JsonSchema;
  /** The words it accepts, for suggestions. */
  readonly words?: readonly string[];
}

/** Whether a key does what it says. */
export type Status =
  | { readonly kind: 'works' }
  /** Anything but the default or `accepts` is refused: it needs the operator, which this product does not have. */
  | { readonly kind: 'operator' }
  /** There is nothing here that it could change; who sets it to anything but `accepts` is told why. */
  | { readonly kind: 'no-effect'; readonly why: string }
  /** Of another system (macOS): accepted without a word. */
  | { readonly kind: 'ignored'; readonly why: string };

/** `read` returns undefined where the variable says nothing and the next is asked. */
export type EnvName =
  | string
  | { readonly name: string; readonly read: (text: string) => unknown; readonly isLegacy?: boolean };

export interface Key<T> {
  readonly node: 'key';
  readonly type: ValueType<T>;
  /** What holds when nobody says anything. */
  readonly default: T;
  readonly doc: string;
  readonly status: Status | null;
  /** Asked in this order; the first that is set wins over the file. */
  readonly env: readonly EnvName[];
  readonly flag: string | null;
  /** Values that a key without an effect, or besides the default one of the operator, accepts without a word, because they ask for nothing. */
  readonly accepts: readonly unknown[];
  /** The value is never shown: it may be a secret. */
  readonly isSecret: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: the keys of a section are of many types
export type Keys = { readonly [name: string]: Key<any> | Section<any> };

/** Another way to write a section. `expand` returns null where the value is not of this form. */
export interface ShortForm {
  readonly doc: string;
  readonly json: JsonSchema;
  readonly expand: (value: unknown) => Readonly<Record<string, unknown>> | null;
  /** Keys that this form knows, for suggestions. */
  readonly words?: readonly string[];
}

export interface Section<K extends Keys> {
  readonly node: 'section';
  readonly keys: K;
  readonly doc: string;
  /** Holds for every key below that has none of its own. */
  readonly status: Status | null;
  readonly shorts: readonly ShortForm[];
}

export type Infer<N> =
  N extends Key<infer T> ? T : N extends Section<infer K> ? { readonly [P in keyof K]: Infer<K[P]> } : never;

interface KeyOptions {
  status?: Status;
  env?: readonly EnvName[];
  flag?: string;
  accepts?: readonly unknown[];
  isSecret?: boolean;
}

export function key<T>(type: ValueType<T>, value: NoInfer<T>, doc: string, options: KeyOptions = {}): Key<T> {
  return {
    node: 'key',
    type,
    default: value,
    doc,
    status: options.status ?? null,
    env: options.env ?? [],
    flag: options.flag ?? null,
    accepts: options.accepts ?? [],
    isSecret: options.isSecret ?? false,
  };
}

export function section<K extends Keys>(
  doc: string,
  keys: K,
  options: { status?: Status; shorts?: readonly ShortForm[] } = {},
): Section<K> {
  return { node: 'section', keys, doc, status: options.status ?? null, shorts: options.shorts ?? [] };
}

export const works: Status = { kind: 'works' };
export const operatorOnly: Status = { kind: 'operator' };

export function noEffect(why: string): Status {
  return { kind: 'no-effect', why };
}

export function ignored(why: string): Status {
  return { kind: 'ignored', why };
}

/** `true` and `false` in place of the section. */
export function toggle(whenTrue: Readonly<Record<string, unknown>>, whenFalse: Readonly<Record<string, unknown>>) {
  return {
    doc: '`true` or `false`',
    json: { type: 'boolean' },
    expand: (value: unknown) => (typeof value === 'boolean' ? (value ? whenTrue : whenFalse) : null),
  } satisfies ShortForm;
}

/** A text in place of the section stands for its key `name`. */
export function textFor(name: string, json: JsonSchema = { type: 'string' }): ShortForm {
  return {
    doc: `a text, which stands for \`${name}\``,
    json,
    expand: (value) => (typeof value === 'string' ? { [name]: value } : null),
  };
}
