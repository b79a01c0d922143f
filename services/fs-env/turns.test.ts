import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Slots } from './slots.ts';
import { Turns } from './turns.ts';

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('those who look go together, those who change alone, all in the order in which they came', async () => {
  const turns = new Turns();
  const log: string[] = [];
  const enter = (name: string, isAlone: boolean) => void turns.enter(isAlone).then(() => log.push(name));
  enter('read 1', false);
  enter('read 2', false);
  enter('write 1', true);
  enter('read 3', false);
  enter('write 2', true);
  await settled();
  expect(log).toEqual(['read 1', 'read 2']);
  turns.leave();
  await settled();
  expect(log).toHaveLength(2);
  turns.leave();
  await settled();
  expect(log.slice(2)).toEqual(['write 1']);
  turns.leave();
  await settled();
  expect(log.slice(3)).toEqual(['read 3']);
  turns.leave();
  await settled();
  expect(log.slice(4)).toEqual(['write 2']);
});

test('whatever comes and goes, nobody is beside one who is alone and everybody gets a turn', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 40 }), async (kinds) => {
      const turns = new Turns();
      let inside = 0;
      let served = 0;
      await Promise.all(
        kinds.map(async (isAlone) => {
          await turns.enter(isAlone);
          inside += 1;
          if (isAlone) expect(inside).toBe(1);
          await settled();
          inside -= 1;
          served += 1;
          turns.leave();
        }),
      );
      expect(served).toBe(kinds.length);
    }),
    { numRuns: 50 },
  );
});

test('no more than the given number are in at once', async () => {
  const slots = new Slots(3);
  let inside = 0;
  let most = 0;
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      await slots.enter();
      inside += 1;
      most = Math.max(most, inside);
      await settled();
      inside -= 1;
      slots.leave();
    }),
  );
  expect(most).toBe(3);
});
