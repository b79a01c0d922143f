// Words of others on the user's terminal: names of the target's variables, an agent's messages. None of them may move the
// cursor, set a title or answer for the terminal.

/** Control characters but tab and newline are spelled out: C0, DEL and C1 of ECMA-48. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (char) => {
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
