import { expect, test } from 'vitest';
import { Contention } from './stepping-back.ts';

/** A look each second, at what a second of running and waiting adds. */
function looks(seconds: readonly (readonly [ran: number, waited: number])[]): boolean[] {
  const contention = new Contention();
  let [ranNs, waitedNs] = [0, 0];
  contention.look({ ranNs, waitedNs }, 0);
  return seconds.map(([ran, waited], nth) => {
    ranNs += ran * 1e9;
    waitedNs += waited * 1e9;
    return contention.look({ ranNs, waitedNs }, (nth + 1) * 1_000);
  });
}

test('who is busy and waits for a CPU is in the way; who waits with little to do is not', () => {
  expect(looks([[0.5, 0.05]])).toEqual([false]);
  expect(looks([[0.01, 0.9]])).toEqual([false]);
  expect(looks([[0.1, 0.5]])).toEqual([true]);
});

test('while somebody waits for an answer it is in nobody’s way, for a moment', () => {
  const contention = new Contention();
  const look = (second: number) => contention.look({ ranNs: second * 1e8, waitedNs: second * 9e8 }, second * 1_000);
  look(0);
  expect(look(1)).toBe(true);
  contention.answer(1_500);
  expect([contention.isAnswering(2_000), look(2)]).toEqual([true, false]);
  expect([contention.isAnswering(3_000), look(3)]).toEqual([false, true]);
});

test('the last place is kept while it waits there, and left after three looks with CPU to spare', () => {
  const starved = [0.005, 0.95] as const;
  const calm = [0.2, 0.01] as const;
  expect(looks([[0.1, 0.5], starved, starved, calm, calm, calm, starved])).toEqual([
    true,
    true,
    true,
    true,
    true,
    false,
    false,
  ]);
});
