// What every bench prints: aligned columns, numbers to the right. And how it measures: the variants take turns, so that
// what the machine does meanwhile hits all of them.

export type Cell = string | number;

export function printTable(title: string, header: readonly string[], rows: readonly (readonly Cell[])[]): void {
  const text = [header, ...rows].map((row) => row.map((cell) => (typeof cell === 'number' ? format(cell) : cell)));
  const widths = header.map((_, column) => Math.max(...text.map((row) => (row[column] ?? '').length)));
  console.log(`\n${title}`);
  for (const row of text) {
    console.log(
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
    );
  }
}

function format(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** Times in ms of `rounds` interleaved runs of each variant, after one that does not count. */
export async function timeTurns<Name extends string>(
  rounds: number,
  variants: Record<Name, () => Promise<void>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(variants) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round <= rounds; round++) {
    for (const name of names) {
      const startedAt = performance.now();
      await variants[name]();
      if (round > 0) times[name].push(performance.now() - startedAt);
    }
  }
  return times;
}

/** What each round says of `part` to `whole`: median, least, most. Steadier than the ratio of two medians. */
export function ratios(part: readonly number[], whole: readonly number[]): [number, number, number] {
  const each = part.map((value, round) => value / (whole[round] as number));
  return [median(each), Math.min(...each), Math.max(...each)];
}

/**
 * Median, and between which two values it lies with 95 % certainty, whatever they are distributed like: so many of them are
 * below a median as a coin that is tossed as often falls on one side.
 */
export function interval(values: readonly number[]): [middle: number, low: number, high: number] {
  const sorted = [...values].sort((a, b) => a - b);
  const aside = Math.max(0, Math.floor((values.length - 1.96 * Math.sqrt(values.length)) / 2) - 1);
  return [median(values), sorted[aside] ?? Number.NaN, sorted[sorted.length - 1 - aside] ?? Number.NaN];
}
