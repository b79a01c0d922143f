// Runs the suites, those in C beside each other, shows what they print and adds up their results, whatever each of them speaks: a
// plain exit code, TAP, or vitest's JSON. Ends with `N passed, N failed, N skipped`.
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { runVitestSuite } from './second-try.mjs';

/** Seconds per fuzz target: enough to replay the corpus and look around it; long runs are `make -C layer/fuzz FUZZ_SECONDS=600`. */
const FUZZ_SECONDS = 10;

/** More than this is no bad luck. */
const MAX_TAP_FAILURES_AGAIN = 3;

const bin = (name) => `node_modules/.bin/${name}`;

const suites = [
  { name: 'format', command: [bin('biome'), 'ci', '--colors=off', '--error-on-warnings'], counts: 'exit' },
  { name: 'types', command: [bin('tsc'), '--noEmit'], counts: 'exit' },
  {
    name: 'layer-c',
    command: ['make', '--no-print-directory', '-s', '-C', 'layer', 'test'],
    counts: 'tap',
    isLong: true,
  },
  {
    name: 'fs-env-c',
    command: ['make', '--no-print-directory', '-s', '-C', 'services/fs-env/native', 'test'],
    counts: 'tap',
  },
  {
    name: 'sniffer-c',
    command: ['make', '--no-print-directory', '-s', '-C', 'services/sniffer/native', 'test', 'fuzz-briefly'],
    counts: 'tap',
    isLong: true,
  },
  {
    name: 'sockets-c',
    command: ['make', '--no-print-directory', '-s', '-C', 'proto/sockets/native', 'test'],
    counts: 'tap',
  },
  {
    name: 'stealer-c',
    command: ['make', '--no-print-directory', '-s', '-C', 'services/stealer/native', 'test', 'fuzz-briefly'],
    counts: 'tap',
  },
  {
    name: 'fuzz',
    command: ['make', '--no-print-directory', '-s', '-C', 'layer/fuzz', `FUZZ_SECONDS=${FUZZ_SECONDS}`],
    counts: 'quiet',
    isLong: true,
  },
  ...['unit', 'tidy', 'layer', 'integration', 'programs', 'peers'].map((name) => ({
    name,
    command: [bin('vitest'), 'run', '--project', name, '--passWithNoTests'],
    counts: 'vitest',
  })),
  // Minutes long, so not each time; the others by scripts/test-cluster only, which has the cluster they need.
  ...['endurance', 'cluster', 'cluster-alone'].map((name) => ({
    name,
    command: [bin('vitest'), 'run', '--project', name, '--passWithNoTests'],
    counts: 'vitest',
    isOnRequest: true,
  })),
];

/** Resolves to the exit code; what the command prints is kept in `printed`, and its lines are given to onLine as they come. */
function run([file, ...args], printed, onLine = () => {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let rest = '';
    child.stdout.on('data', (chunk) => {
      printed.push(chunk);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop();
      for (const line of lines) onLine(line);
    });
    child.stderr.on('data', (chunk) => printed.push(chunk));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(signal ? 128 : code));
  });
}

async function countExit(command, printed) {
  return (await run(command, printed)) === 0
    ? { passed: 1, failed: 0, skipped: [] }
    : { passed: 0, failed: 1, skipped: [] };
}

/** For what talks much and says little: shown only when it fails. */
async function countQuietly(command, printed) {
  const said = [];
  if ((await run(command, said)) === 0) return { passed: 1, failed: 0, skipped: [] };
  printed.push(...said);
  return { passed: 0, failed: 1, skipped: [] };
}

async function countTapOnce(command, printed) {
  const counts = { passed: 0, failed: 0, skipped: [] };
  const code = await run(command, printed, (line) => {
    const point = /^(not )?ok\b(.*)$/.exec(line);
    if (!point) return;
    const skip = /# *skip\b(.*)/i.exec(point[2]);
    if (skip) counts.skipped.push(point[2].trim());
    else if (point[1]) counts.failed++;
    else counts.passed++;
  });
  // A program that died before it could say "not ok".
  if (code !== 0 && counts.failed === 0) counts.failed++;
  return counts;
}

/** Like a vitest file, a TAP suite with few failures is run once more; what fails twice has failed. */
async function countTap(command, printed) {
  const first = await countTapOnce(command, printed);
  if (first.failed === 0 || first.failed > MAX_TAP_FAILURES_AGAIN) return first;
  printed.push(`\n-- once more: ${command.join(' ')}\n`);
  const second = await countTapOnce(command, printed);
  return { ...second, secondTry: second.failed === 0 ? [`${first.failed} of ${command.at(-2)}`] : [] };
}

/** Names of suites, then after `--` what vitest is given besides. */
const given = process.argv.slice(2);
const end = given.includes('--') ? given.indexOf('--') : given.length;
const wanted = given.slice(0, end);
const forVitest = given.slice(end + 1);
const unknown = wanted.filter((name) => !suites.some((suite) => suite.name === name));
if (unknown.length > 0) {
  console.error(`unknown suite ${unknown.join(', ')}; there are: ${suites.map((suite) => suite.name).join(', ')}`);
  process.exit(2);
}

const chosen = suites.filter(({ name, isOnRequest }) => (wanted.length === 0 ? !isOnRequest : wanted.includes(name)));
const results = new Map();

async function runSuite(suite) {
  const printed = [];
  const startedAt = performance.now();
  const count = { exit: countExit, quiet: countQuietly, tap: countTap, vitest: runVitestSuite }[suite.counts];
  if (suite.counts === 'vitest') console.log(`\n== ${suite.name}`);
  const counts = await count(suite.counts === 'vitest' ? [...suite.command, ...forVitest] : suite.command, printed);
  if (suite.counts !== 'vitest')
    process.stdout.write(`\n== ${suite.name}\n${Buffer.concat(printed.map((part) => Buffer.from(part)))}`);
  results.set(suite, { counts, seconds: ((performance.now() - startedAt) / 1000).toFixed(1).padStart(6) });
}

/** One after the other in as many rows as there are cores, the long ones first: each keeps a single core busy. */
async function runInRows(waiting) {
  const row = async () => {
    for (let suite = waiting.shift(); suite !== undefined; suite = waiting.shift()) await runSuite(suite);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, row));
}

await runInRows(
  chosen.filter(({ counts }) => counts !== 'vitest').sort((a, b) => (b.isLong ?? false) - (a.isLong ?? false)),
);
for (const suite of chosen.filter(({ counts }) => counts === 'vitest')) await runSuite(suite);

const total = { passed: 0, failed: 0, skipped: [] };
const rows = [];
const secondTries = [];
for (const suite of chosen) {
  const { counts, seconds } = results.get(suite);
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped.push(...counts.skipped.map((name) => `${suite.name}: ${name}`));
  secondTries.push(...(counts.secondTry ?? []).map((name) => `${suite.name}: ${name}`));
  rows.push(
    `${suite.name.padEnd(12)} ${seconds} s  ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped.length} skipped`,
  );
}

console.log(`\n${rows.join('\n')}`);
for (const name of secondTries) console.log(`passed at the second try only: ${name}`);
for (const name of total.skipped) console.log(`skipped ${name}`);
// In CI an environment that cannot run a test must not look like one that passed it.
const isStrict = process.env.CI === 'true';
const failed = total.failed + (isStrict ? total.skipped.length : 0);
console.log(`${total.passed} passed, ${failed} failed, ${isStrict ? 0 : total.skipped.length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
