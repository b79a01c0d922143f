// The matrix of programs for one kind of user; each has a file of its own, so that they run beside each other.

import { cpSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { run } from '../fixtures/run.ts';
import { FOLDER, VARIABLES, writeTargetFiles } from '../fixtures/target-files.ts';
import { SYSTEM_PATH, type User, Whole } from '../fixtures/whole.ts';
import { COMPILED } from './compile.ts';
import { addBuiltFiles, languages, type Program, TOOLCHAINS, tools } from './matrix.ts';

const machine = [can.root, can.nats, canRun(...TOOLCHAINS)].find(({ yes }) => !yes) ?? can.root;

/** Every program through bin/mirrord: it must print what it prints natively on the target. */
export function describePrograms(user: User): void {
  describe.skipIf(!machine.yes)(`programs run by ${user} (${machine.why})`, () => {
    let whole: Whole;
    let programs = '';
    beforeAll(async () => {
      whole = await Whole.start({ variables: VARIABLES });
      writeTargetFiles(whole.target.root);
      addBuiltFiles(path.join(whole.target.root, FOLDER), COMPILED);
      // nobody must be able to read them, wherever the checkout is.
      programs = path.join(whole.base, 'programs');
      cpSync(COMPILED, programs, { recursive: true });
    });
    afterAll(() => whole?.close());

    test.each([...languages, ...tools])('$name', async (program) => {
      const work = whole.makeWork(user);
      const flags = program.writes === true ? ['--fs-mode', 'write'] : [];
      const outcome = await whole.exec(program.command({ programs, folder: FOLDER, work }), { user, work, flags });
      const said = `${outcome.stdout}\n${outcome.stderr}`;
      if (user === 'nobody without FUSE' && program.withoutFuse !== undefined) {
        expect(said).toMatch(program.withoutFuse);
        return;
      }
      const stdout = program.prints ?? (await printedNatively(program));
      expect({ code: outcome.code, stdout: outcome.stdout }, outcome.stderr).toEqual({ code: 0, stdout });
    });

    /** What the command prints on the target's own folder. */
    async function printedNatively(program: Program): Promise<string> {
      const work = whole.makeWork('root');
      const folder = path.join(whole.target.root, FOLDER);
      const variables = { ...VARIABLES, PATH: SYSTEM_PATH, HOME: work };
      const outcome = await run(program.command({ programs, folder, work }), { variables, folder: work });
      expect(outcome.code, outcome.stderr).toBe(0);
      return outcome.stdout;
    }
  });
}
