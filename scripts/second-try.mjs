// Runs one vitest project and counts its tests. Files that failed are run once more, alone: on a shared machine a test can
// lose its cores for seconds, and a gate that fails on that teaches people to ignore it. Nothing is hidden: what passed only
// at the second try is named in the result, and what fails twice has failed.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

/** More failed files than this are no bad luck: they are not run again. */
const MAX_FILES_AGAIN = 6;

/** Seconds after which a run of one project is ended: a suite that hangs must say so, not eat the time of the gate. */
const RUN_SECONDS = 1_500;

function vitest([file, ...args]) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit'], timeout: RUN_SECONDS * 1000 });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(signal ? 128 : code));
  });
}

/** @returns the exit code and, per file, its tests; throws when vitest left no result. */
async function runOnce(command) {
  const folder = mkdtempSync(join(tmpdir(), 'mirrord-results-'));
  const file = join(folder, 'results.json');
  try {
    const code = await vitest([...command, '--reporter=default', '--reporter=json', `--outputFile.json=${file}`]);
    const { testResults } = JSON.parse(readFileSync(file, 'utf8'));
    return { code, files: testResults };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const count = (tests) => ({
  passed: tests.filter((test) => test.status === 'passed').length,
  failed: tests.filter((test) => test.status === 'failed').length,
  skipped: tests.filter((test) => !['passed', 'failed'].includes(test.status)).map((test) => test.fullName),
});

const add = (a, b) => ({
  passed: a.passed + b.passed,
  failed: a.failed + b.failed,
  skipped: [...a.skipped, ...b.skipped],
});

/** Counts one run: a file that could not be loaded, a leak or an unhandled rejection is one failure. */
function countRun({ code, files }) {
  const counts = count(files.flatMap((result) => result.assertionResults));
  if (code !== 0 && counts.failed === 0) counts.failed++;
  return counts;
}

/**
 * @param command the vitest command of the project, without reporters
 * @returns {Promise<{passed: number, failed: number, skipped: string[], secondTry: string[]}>} secondTry names what failed
 *   first and passed then
 */
export async function runVitestSuite(command) {
  let first;
  try {
    first = await runOnce(command);
  } catch (error) {
    console.error(`no results: ${error.message}`);
    return { passed: 0, failed: 1, skipped: [], secondTry: [] };
  }
  const counts = countRun(first);
  if (counts.failed === 0) return { ...counts, secondTry: [] };

  const failed = first.files.filter((file) => file.status !== 'passed');
  if (failed.length > MAX_FILES_AGAIN) return { ...counts, secondTry: [] };
  // Nothing failed but the run did (an unhandled rejection): nobody knows whose it was, so everything runs again.
  const again = failed.length > 0 ? failed : first.files;
  const names = again.map((file) => relative(process.cwd(), file.name));
  console.log(`\n-- once more, alone: ${failed.length > 0 ? names.join(' ') : 'the whole suite'}`);
  try {
    const second = await runOnce([...command, '--maxWorkers=1', ...(failed.length > 0 ? names : [])]);
    const kept = first.files.filter((file) => !again.includes(file)).flatMap((file) => file.assertionResults);
    const counted = countRun(second);
    const secondTry = again.flatMap((file) =>
      file.assertionResults.filter((test) => test.status === 'failed').map((test) => test.fullName),
    );
    const unknown = secondTry.length > 0 ? secondTry : names.slice(0, 1);
    return { ...add(count(kept), counted), secondTry: counted.failed === 0 ? unknown : [] };
  } catch (error) {
    console.error(`no results of the second try: ${error.message}`);
    return { ...counts, secondTry: [] };
  }
}
