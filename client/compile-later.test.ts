import { expect, test } from 'vitest';
import { compileLater } from './compile-later.ts';

test('V8 knows the flag, and what runs goes on', () => {
  const squares = (most: number) => Array.from({ length: most }, (_, at) => at * at).reduce((sum, one) => sum + one, 0);
  const before = squares(5_000);
  compileLater();
  for (let round = 0; round < 200; round++) expect(squares(5_000)).toBe(before);
});
