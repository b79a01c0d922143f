// Before tests of vitest run: what they start is what the sources say. A part that does not compile fails the run here, with
// the compiler's words, instead of tests that speak with the one of yesterday.
import { execFileSync } from 'node:child_process';
import { dirname } from 'node:path';

export function setup() {
  execFileSync('bash', ['scripts/build-all'], { cwd: dirname(import.meta.dirname), stdio: 'inherit' });
}
