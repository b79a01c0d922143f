import { expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { COMMANDS, findCommand, parseArguments } from './arguments.ts';
import { completionScript } from './completions.ts';
import { commandHelp, overview } from './help.ts';

const exec = findCommand('exec');
const parse = (...args: string[]) => parseArguments(exec, args);

function refusal(act: () => unknown): AppError {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

test.each([
  [['-t', 'pid/1', '--', 'node', '-e', '0']],
  [['-tpid/1', '--', 'node', '-e', '0']],
  [['-t=pid/1', 'node', '-e', '0']],
  [['--target', 'pid/1', 'node', '-e', '0']],
  [['--target=pid/1', 'node', '-e', '0']],
])('%j names target and command', (args) => {
  const parsed = parse(...args);
  expect(parsed.overrides).toEqual({ MIRRORD_IMPERSONATED_TARGET: 'pid/1' });
  expect(parsed.words).toEqual(['node', '-e', '0']);
});

test('what follows the command belongs to it, whatever it looks like', () => {
  expect(parse('ls', '--steal', '-t', '--', '-x').words).toEqual(['ls', '--steal', '-t', '--', '-x']);
  expect(parse('--', '--target').words).toEqual(['--target']);
});

test('every flag about target, environment and files overrides the variable users know', () => {
  const { overrides } = parse('--fs-mode', 'local-with-overrides', '-s', 'A;B', '--env-file=x.env', '-k', 'me', 'true');
  expect(overrides).toEqual({
    MIRRORD_FILE_MODE: 'localwithoverrides',
    MIRRORD_OVERRIDE_ENV_VARS_INCLUDE: 'A;B',
    MIRRORD_OVERRIDE_ENV_VARS_FILE: 'x.env',
    MIRRORD_KEY: 'me',
  });
  expect(parse('-x', 'SECRET_*', 'true').overrides).toEqual({ MIRRORD_OVERRIDE_ENV_VARS_EXCLUDE: 'SECRET_*' });
});

test('-e says yes where the configuration says no', () => {
  expect(parse('-e', '--', 'true').overrides).toEqual({ MIRRORD_EPHEMERAL_CONTAINER: 'true' });
});

test('the configuration file has a default place and may be stdin', () => {
  expect(parse('-f').flags['config-file']).toBe('./.mirrord/mirrord.json');
  expect(parse('-f', '-t', 'pid/1').flags['config-file']).toBe('./.mirrord/mirrord.json');
  expect(parse('-f', '-').flags['config-file']).toBe('-');
  expect(parse('--config-file=a.toml').flags['config-file']).toBe('a.toml');
});

test.each([
  ['--no-outgoing', { MIRRORD_TCP_OUTGOING: 'false', MIRRORD_UDP_OUTGOING: 'false' }],
  ['--no-tcp-outgoing', { MIRRORD_TCP_OUTGOING: 'false' }],
  ['--no-udp-outgoing', { MIRRORD_UDP_OUTGOING: 'false' }],
  ['--no-remote-dns', { MIRRORD_REMOTE_DNS: 'false' }],
])('%s says no to what the configuration may say yes to', (flag, overrides) => {
  expect(parse(flag, '--', 'true').overrides).toEqual(overrides);
});

test('--skip-processes is taken as its key is: with a warning, which the configuration has', () => {
  expect(parse('--skip-processes', 'git;make', 'true').overrides).toEqual({ MIRRORD_SKIP_PROCESSES: 'git;make' });
});

test.each([
  ['-n', 'MIRRORD_TARGET_NAMESPACE'],
  ['-a', 'MIRRORD_AGENT_NAMESPACE'],
  ['-l', 'MIRRORD_AGENT_RUST_LOG'],
  ['-i', 'MIRRORD_AGENT_IMAGE'],
  ['--agent-ttl', 'MIRRORD_AGENT_TTL'],
  ['--agent-startup-timeout', 'MIRRORD_AGENT_STARTUP_TIMEOUT'],
  ['--context', 'MIRRORD_KUBE_CONTEXT'],
])('%s says for the cluster what %s does', (flag, variable) => {
  expect(parse(flag, 'value', 'true').overrides).toEqual({ [variable]: 'value' });
});

test.each([
  [['--targt', 'x'], 'did you mean --target?'],
  [['--fsmode', 'read'], 'did you mean --fs-mode?'],
  [['--zzzzzzzz'], 'does not know the flag --zzzzzzzz'],
  [['-q'], 'does not know the flag -q'],
  [['--target'], '--target TARGET'],
  [['--target', '--', 'x'], '--target TARGET'],
  [['--verbose=1'], 'takes no value'],
  [['-t', 'a', '-t', 'b'], 'given twice'],
])('%j is refused and told what is wrong', (args, reason) => {
  const error = refusal(() => parse(...args));
  expect(error.code).toBe('CONFIG_INVALID');
  expect(error.message).toContain(reason);
});

test('a command that is misspelt gets a suggestion, one that is not here is refused by name', () => {
  expect(refusal(() => findCommand('exce')).message).toContain('did you mean exec?');
  expect(refusal(() => findCommand('up')).code).toBe('UNSUPPORTED');
  const error = refusal(() => findCommand('kill'));
  expect(error.message).toBe('this version has no command kill (the end of sessions by name)');
  expect(error.data).toMatchObject({ exitCode: 2, advice: expect.stringContaining('mirrord session stop ID') });
});

test('help lists every flag, and every command that is here', () => {
  const text = commandHelp(exec);
  for (const flag of exec.flags) expect(text).toContain(`--${flag.name}`);
  for (const command of COMMANDS) {
    const isShown = command.missing === undefined && command.isHidden !== true;
    expect(overview('1.0').includes(`  ${command.name} `)).toBe(isShown);
  }
});

test('help fits an ordinary terminal', () => {
  for (const command of COMMANDS) {
    for (const line of commandHelp(command).split('\n')) expect(line.length).toBeLessThanOrEqual(120);
  }
});

test.each(['bash', 'zsh', 'fish'])('completions of %s know the flags of exec', (shell) => {
  expect(completionScript(shell)).toMatch(/fs-mode/);
});
