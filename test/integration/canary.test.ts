// Secret values stand in the target's environment, in its files; a local process reads them
// all while everything logs as much as it can and much goes wrong. None of them may be in anything that any process of
// ours wrote: output, log, what is left of a crash.

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { descendantsOf, eventually } from '../fixtures/processes.ts';
import type { Outcome } from '../fixtures/run.ts';
import { Whole } from '../fixtures/whole.ts';

const newSecret = () => `canary-${randomBytes(12).toString('hex')}`;
const secrets = {
  variable: newSecret(),
  small: newSecret(),
  large: newSecret(),
  written: newSecret(),
  config: newSecret(),
};

/** As a log might hold a value: as it is, in base64 at each alignment, in hex, as a list of bytes. */
function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const inBase64 = [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .slice(4, -4),
  );
  return [secret, ...inBase64, bytes.toString('hex'), [...bytes].join(','), [...bytes].join(', ')];
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(folder, name))
    .filter((name) => statSync(name, { throwIfNoEntry: false })?.isFile() === true);
}

/** Reads all the secrets and prints only their hash, so that the test knows they were really seen. */
const reader = `
  const { createHash } = require('node:crypto');
  const { readFileSync } = require('node:fs');
  const hash = createHash('sha256');
  hash.update(process.env.SHOP_SECRET);
  hash.update(readFileSync('/srv/canary/small.txt'));
  hash.update(readFileSync('/srv/canary/large.txt').subarray(0, 31));
  console.log(hash.digest('hex'));
`;

/** Reads until there is nobody to read from. */
const untilRefused = 'while cat /srv/canary/small.txt /srv/canary/large.txt >/dev/null; do touch reads; done';

describe.skipIf(!can.root.yes)(`canary (${can.root.why})`, () => {
  let whole: Whole;
  const outcomes: Outcome[] = [];
  const run = async (command: string[], flags: string[] = []) => {
    const outcome = await whole.exec(command, {
      flags: ['--verbose', ...flags],
      variables: { MIRRORD_LOG_LEVEL: 'trace' },
    });
    outcomes.push(outcome);
    return outcome;
  };

  beforeAll(async () => {
    whole = await Whole.start({
      variables: { SHOP_SECRET: secrets.variable },
      agentVariables: { MIRRORD_LOG_LEVEL: 'trace' },
    });
    const folder = path.join(whole.target.root, 'srv/canary');
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'small.txt'), secrets.small);
    writeFileSync(path.join(folder, 'large.txt'), secrets.large.repeat(100_000));
  });
  afterAll(() => whole?.close());

  test('the local process sees every secret', async () => {
    const { code, stdout, stderr } = await run(['node', '-e', reader]);
    const hash = createHash('sha256').update(secrets.variable).update(secrets.small).update(secrets.large.slice(0, 31));
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: `${hash.digest('hex')}\n` });
  });

  test('a write, an errno, a missing program and a death by signal are told without them', async () => {
    const write = `require('node:fs').writeFileSync('/srv/canary/written.txt', ${JSON.stringify(secrets.written)})`;
    expect((await run(['node', '-e', write], ['--fs-mode', 'write'])).code).toBe(0);
    expect(readFileSync(path.join(whole.target.root, 'srv/canary/written.txt'), 'utf8')).toBe(secrets.written);
    expect((await run(['cat', '/srv/canary/small.txt/below'])).code).toBe(1);
    expect((await run(['no-such-program'])).code).toBe(127);
    expect((await run(['sh', '-c', 'kill -SEGV $$'])).signal ?? 'exit code').toMatch(/SIGSEGV|exit code/);
  });

  test('a configuration that is wrong is told without its values', async () => {
    const work = whole.makeWork('root');
    const file = path.join(work, 'mirrord.json');
    writeFileSync(file, JSON.stringify({ feature: { env: { override: { A: secrets.config, B: [secrets.config] } } } }));
    const outcome = await whole.exec(['true'], { work, flags: ['--verbose', '-f', file] });
    outcomes.push(outcome);
    expect(outcome.code).toBe(2);
  });

  test('a crash of fs-env and of the agent in the middle of a session is told without them', async () => {
    const { agent } = whole;
    const work = whole.makeWork('root');
    const flags = ['--verbose'];
    const running = whole.exec(['sh', '-c', untilRefused], { work, flags, variables: { MIRRORD_LOG_LEVEL: 'trace' } });
    await eventually('the local process reads', () => existsSync(path.join(work, 'reads')));
    const ended = once(agent, 'exit');
    for (const pid of descendantsOf(agent.pid ?? 0)) process.kill(pid, 'SIGABRT');
    agent.kill('SIGABRT');
    await ended;
    outcomes.push(await running);
    expect(outcomes.at(-1)?.stdout).toBe('');
  });

  test('none is in any output, log or leftover', () => {
    const written: [string, string][] = outcomes.flatMap(({ stdout, stderr }, i): [string, string][] => [
      [`stdout of run ${i}`, stdout],
      [`stderr of run ${i}`, stderr],
    ]);
    const own = filesBelow(whole.base).filter(
      (name) => !name.endsWith('/mirrord.json') && !name.includes('/installed/'),
    );
    for (const name of own) written.push([name, readFileSync(name, 'latin1')]);
    expect(own.some((name) => name.endsWith('agent.log'))).toBe(true);
    const found = written.flatMap(([where, text]) =>
      Object.entries(secrets)
        .filter(([, secret]) => formsOf(secret).some((form) => text.includes(form)))
        .map(([name]) => `${name} in ${where}`),
    );
    expect(found).toEqual([]);
  });
});
