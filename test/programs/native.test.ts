// The programs of the matrix without mirrord, on a copy of the target's folder: what they print is what the matrix expects.
// A program that fails here says nothing about mirrord when it fails there.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canRun } from '../can.ts';
import { run } from '../fixtures/run.ts';
import { FOLDER, VARIABLES, writeTargetFiles } from '../fixtures/target-files.ts';
import { SYSTEM_PATH } from '../fixtures/whole.ts';
import { COMPILED } from './compile.ts';
import { addBuiltFiles, languages, TOOLCHAINS, tools } from './matrix.ts';

const toolchains = canRun(...TOOLCHAINS);

describe.skipIf(!toolchains.yes)(`natively (${toolchains.why})`, () => {
  let base = '';
  beforeAll(() => {
    base = mkdtempSync(path.join(tmpdir(), 'mirrord-native-'));
    writeTargetFiles(base);
    addBuiltFiles(path.join(base, FOLDER), COMPILED);
  });
  afterAll(() => rmSync(base, { recursive: true, force: true }));

  test.each([...languages, ...tools])('$name', async ({ command, prints }) => {
    const work = mkdtempSync(path.join(base, 'work-'));
    const places = { programs: COMPILED, folder: path.join(base, FOLDER), work };
    const variables = { ...VARIABLES, PATH: SYSTEM_PATH, HOME: work };
    const outcome = await run(command(places), { variables, folder: work });
    expect(outcome).toMatchObject({ code: 0, stderr: '', ...(prints === undefined ? {} : { stdout: prints }) });
  });
});
