// The texts that every match of a regular expression contains, read from its source: most requests are not for us, and looking
// for a fixed text in their head costs a hundredth of running the expression. May find less than there is, never more.

const SPECIAL = new Set(['^', '$', '.', '|', '(', ')', '[', ']', '{', '}', '*', '+', '?', '\\']);

/** Any other brace stands for itself. */
const COUNT = /^\{[0-9]+(?:,[0-9]*)?\}/;

/** Index behind the class that begins at `at` (RE2: a `]` right after the opening stands for itself). */
export function behindClass(source: string, at: number): number {
  let next = at + 1;
  if (source[next] === '^') next++;
  if (source[next] === ']') next++;
  while (next < source.length && source[next] !== ']') {
    if (source[next] === '\\') next++;
    // [[:alpha:]] holds a bracket of its own.
    if (source.startsWith('[:', next)) {
      const end = source.indexOf(':]', next);
      if (end !== -1) next = end + 1;
    }
    next++;
  }
  return next + 1;
}

/** Index behind the group that begins at `at`. */
function behindGroup(source: string, at: number): number {
  let depth = 0;
  let next = at;
  while (next < source.length) {
    const char = source[next];
    if (char === '\\') next++;
    else if (char === '[') {
      next = behindClass(source, next);
      continue;
    } else if (char === '(') depth++;
    else if (char === ')' && --depth === 0) return next + 1;
    next++;
  }
  return source.length;
}

/** Plain runs of the expression's top level; undefined when it has alternatives there. */
function plainRuns(source: string): string[] | undefined {
  const runs: string[] = [];
  let run = '';
  const end = (): void => {
    if (run !== '') runs.push(run);
    run = '';
  };
  let at = 0;
  while (at < source.length) {
    const char = source[at] as string;
    if (char === '|') return undefined;
    const many = char === '{' ? COUNT.exec(source.slice(at))?.[0].length : undefined;
    if (char === '*' || char === '?' || many !== undefined) {
      // Whatever stood before may be missing.
      run = run.slice(0, -1);
      end();
      at += many ?? 1;
    } else if (char === '(') {
      end();
      // A flag such as (?i) holds no text; any other group is passed over with what follows it.
      at = behindGroup(source, at);
    } else if (char === '[') {
      end();
      at = behindClass(source, at);
    } else if (char === '\\') {
      const escaped = source[at + 1] ?? '';
      if (/[^A-Za-z0-9]/.test(escaped)) run += escaped;
      else end();
      // \x41, \pL, \Q...\E: what follows is no text of its own, but may be another alternative.
      if (/[xpPQC0-9]/.test(escaped)) return source.includes('|', at) ? undefined : runs;
      at += 2;
    } else if (SPECIAL.has(char)) {
      end();
      at++;
    } else {
      run += char;
      at++;
    }
  }
  end();
  return runs;
}

/** Shortest text that is worth looking for. */
const MIN_LENGTH = 3;

/**
 * @returns texts in lower case, each in every match when case is ignored. Cut at colons with the spaces around them, since a
 *   head may have other space there than the line that the expression is matched on; ASCII only, where folding is certain.
 */
export function requiredTexts(source: string): string[] {
  return (plainRuns(source) ?? []).flatMap(lookedTexts);
}

/** @returns what of a text that is in a line is looked for, cut in the same way */
export function lookedTexts(text: string): string[] {
  return text
    .split(/[ \t]*:[ \t]*|[^\x20-\x7e]+/)
    .map((part) => part.trim().toLowerCase())
    .filter((part) => part.length >= MIN_LENGTH);
}

/**
 * @returns what the name of every line begins with that the expression matches, in lower case; for lines as `name: value` of
 *   visible ASCII
 */
export function requiredPrefix(source: string): string {
  const [, run = '', next = ''] = /^(?:\(\?[a-zA-Z-]+\))*\^([A-Za-z0-9_-]*)(.?)/s.exec(source) ?? [];
  if (plainRuns(source) === undefined) return '';
  // What may be missing is not demanded.
  return (/[*?{]/.test(next) ? run.slice(0, -1) : run).toLowerCase();
}
