// Files of variables: NAME=VALUE lines, optionally after `export`. Quoted values may go over lines; single quotes mean
// every character, in double quotes \n, \r, \t, \", \\, \$ and \` are escapes. `$NAME` and `${NAME}` outside single quotes
// are earlier entries of the file, else variables of the environment, else nothing. `#` begins a comment at the beginning
// of a line and after a space. Errors tell the line and nothing of its content.

export type Dotenv =
  | { readonly ok: (readonly [name: string, value: string])[] }
  | { readonly badLine: number; readonly reason: string };

const NAME = /[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*=[ \t]*/y;
const BLANK = /[ \t]*(?:#[^\n]*)?(?:\n|$)/y;
const SINGLE = /'([^']*)'/y;
const DOUBLE = /"((?:[^"\\]|\\[\s\S])*)"/y;
const BARE = /[^\n]*/y;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
/** An escape, a reference or a character. */
const PIECE = /\\([\s\S])|\$\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)/g;

export function parseDotenv(file: string, env: NodeJS.ProcessEnv): Dotenv {
  const text = file.replace(/^\uFEFF/, '').replaceAll('\r\n', '\n');
  const entries = new Map<string, string>();
  const lookUp = (name: string) => entries.get(name) ?? env[name] ?? '';
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at += match[0].length;
    return match;
  };
  const bad = (reason: string): Dotenv => ({ badLine: text.slice(0, at).split('\n').length, reason });
  while (at < text.length) {
    if (take(BLANK) !== null) continue;
    const name = take(NAME)?.[1];
    if (name === undefined) return bad('wants NAME=VALUE');
    const value = takeValue(take, text[at], lookUp);
    if (value === null) return bad('a closing quote is missing');
    entries.set(name, value);
    if (take(BLANK) === null) return bad('nothing but a comment may follow a quoted value');
  }
  return { ok: [...entries] };
}

function takeValue(
  take: (pattern: RegExp) => RegExpExecArray | null,
  quote: string | undefined,
  lookUp: (name: string) => string,
): string | null {
  if (quote === "'") return take(SINGLE)?.[1] ?? null;
  if (quote === '"') {
    const inner = take(DOUBLE)?.[1];
    return inner === undefined ? null : expand(inner, lookUp);
  }
  const bare = take(BARE)?.[0] ?? '';
  return expand(bare.replace(/(?:^|[ \t])#.*$/, '').trim(), lookUp);
}

function expand(value: string, lookUp: (name: string) => string): string {
  return value.replaceAll(PIECE, (_all, escaped, braced, bare) =>
    escaped === undefined ? lookUp(braced ?? bare) : (ESCAPES[escaped] ?? escaped),
  );
}
