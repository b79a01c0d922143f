// What the supervisor has to say to the user while the local process runs. A text comes once: a program that meets the same
// limit for each of a thousand files would else fill the terminal.

const MAX_TEXTS = 100;

/** Passes on each text once, and at most 100 different ones. */
export function eachOnce(tell: (text: string) => void): (text: string) => void {
  const told = new Set<string>();
  return (text) => {
    if (told.has(text) || told.size >= MAX_TEXTS) return;
    told.add(text);
    tell(text);
  };
}
