// Replacement of a match as Rust's `regex` writes it: `$1`, `${1}`, `$name`, `${name}`, `$$`; a group that does not exist
// or took no part is nothing. The longest name counts: `$1a` is the group called `1a`.

const REFERENCE = /\$(?:(\$)|\{([^}]*)\}|(\w+))/g;

/** The text with its first match replaced, or null where nothing matches. */
export function replaceMatch(regex: RegExp, text: string, replacement: string): string | null {
  const match = regex.exec(text);
  if (match === null) return null;
  const inserted = replacement.replaceAll(REFERENCE, (_all, dollar, braced, bare) =>
    dollar === undefined ? group(match, braced ?? bare) : '$',
  );
  return text.slice(0, match.index) + inserted + text.slice(match.index + match[0].length);
}

function group(match: RegExpExecArray, name: string): string {
  if (/^\d+$/.test(name)) return match[Number(name)] ?? '';
  const { groups } = match;
  return (groups !== undefined && Object.hasOwn(groups, name) ? groups[name] : undefined) ?? '';
}
