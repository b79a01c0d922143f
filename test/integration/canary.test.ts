// Secret values stand in the target's environment, in its files, in the key of its TLS; a local process reads or uses them
// all while everything logs as much as it can and much goes wrong. None of them may be in anything that any process of
// ours wrote: output, log, what is left of a crash.

import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
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

const tlsKey = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey;

/** The text of its file, line by line, and the number that is the secret in it. */
function partsOfKey(): (string | Buffer)[] {
  const lines = tlsKey.export({ type: 'pkcs8', format: 'pem' }).toString().split('\n');
  const number = tlsKey.export({ format: 'jwk' }).d ?? '';
  return [...lines.filter((line) => line.length > 20 && !line.startsWith('-----')), Buffer.from(number, 'base64url')];
}

/** As a log might hold a value: as it is, in base64 at each alignment, in hex, as a list of bytes. */
function formsOf(secret: string | Buffer): string[] {
  const bytes = Buffer.from(secret);
  const inBase64 = [0, 1, 2].map((shift) =>
    Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .slice(4, -4),
  );
  const text = typeof secret === 'string' ? [secret] : [secret.toString('base64url')];
  return [...text, ...inBase64, bytes.toString('hex'), [...bytes].join(','), [...bytes].join(', ')];
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
      agentVariables: { MIRRORD_LOG_LEVEL: 'trace', MIRRORD_SERVICES_WHEN_WANTED: 'stealer' },
    });
    const folder = path.join(whole.target.root, 'srv/canary');
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'small.txt'), secrets.small);
    writeFileSync(path.join(folder, 'large.txt'), secrets.large.repeat(100_000));
    const pem = tlsKey.export({ type: 'pkcs8', format: 'pem' });
    writeFileSync(path.join(folder, 'tls.key'), pem);
    const certificate = ['req', '-x509', '-new', '-subj', '/CN=shop.test', '-key'];
    execFileSync('openssl', [...certificate, path.join(folder, 'tls.key'), '-out', path.join(folder, 'tls.crt')]);
    const other = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-subj',
      '/CN=o',
    ];
    const nowhere = ['-keyout', '/dev/null', '-out', path.join(folder, 'other.crt')];
    execFileSync('openssl', [...other, ...nowhere], { stdio: 'pipe' });
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

  /** A local server for what comes to port 8443, until there is a file `over`. */
  const stealing = (work: string, certificate: string) => {
    const file = path.join(work, 'mirrord.json');
    const tls = [{ certificate: `/srv/canary/${certificate}`, key: '/srv/canary/tls.key' }];
    const incoming = { mode: 'steal', tls, tls_delivery: { protocol: 'tcp' } };
    writeFileSync(file, JSON.stringify({ feature: { network: { incoming } } }));
    const program = `const fs = require('node:fs');
      require('node:http').createServer((request, response) => response.end('local')).on('error', () => process.exit(9))
        .listen(8443, () => fs.writeFileSync('listening', ''));
      setInterval(() => fs.existsSync('over') && process.exit(), 20);`;
    const flags = ['--verbose', '-f', file];
    return whole.exec(['node', '-e', program], { work, flags, variables: { MIRRORD_LOG_LEVEL: 'trace' } });
  };

  test('a key of TLS that does not fit its certificate is told without it', async () => {
    const outcome = await stealing(whole.makeWork('root'), 'other.crt');
    outcomes.push(outcome);
    expect(outcome.stderr).toContain('/srv/canary/tls.key is not the key of /srv/canary/other.crt');
  });

  test('a crash of fs-env, of the stealer with a key and of the agent in the middle of a session is told without them', async () => {
    const { agent, target } = whole;
    const inTls = whole.makeWork('root');
    const inTlsEnds = stealing(inTls, 'tls.crt');
    await eventually('the port is stolen', () => existsSync(path.join(inTls, 'listening')));
    const curl = ['-t', `${target.pid}`, '-n', 'curl', '-sSk', '--max-time', '20', 'https://127.0.0.1:8443/'];
    expect(execFileSync('nsenter', curl, { encoding: 'utf8' })).toBe('local');
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
    writeFileSync(path.join(inTls, 'over'), '');
    outcomes.push(await inTlsEnds);
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
    const all = [...Object.entries(secrets), ...partsOfKey().map((part) => ['key of TLS', part] as const)];
    const forms = all.map(([name, secret]) => [name, formsOf(secret)] as const);
    const found = written.flatMap(([where, text]) =>
      forms.filter(([, some]) => some.some((form) => text.includes(form))).map(([name]) => `${name} in ${where}`),
    );
    expect(found).toEqual([]);
  });
});
