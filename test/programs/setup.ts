// The programs are compiled once, before files of tests use them beside each other.

import { canRun } from '../can.ts';
import { compilePrograms } from './compile.ts';
import { TOOLCHAINS } from './matrix.ts';

export function setup(): void {
  if (canRun(...TOOLCHAINS).yes) compilePrograms();
}
