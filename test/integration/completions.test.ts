import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ApiServer } from '../../client/testing/api-server.ts';
import { run } from '../fixtures/run.ts';
import { SYSTEM_PATH } from '../fixtures/whole.ts';

const mirrord = path.join(import.meta.dirname, '../../bin/mirrord');
/** A busy machine is no slow cluster. */
const PATIENT = { MIRRORD_COMPLETION_DEADLINE_MS: '60000' };
let server: ApiServer;
let folder = '';
let variables: Record<string, string> = {};

const table = (...names: string[]) => ({ rows: names.map((name) => ({ cells: [name] })) });

beforeAll(async () => {
  server = await ApiServer.start();
  server.answers.set('GET /apis/apps/v1/namespaces/shop/deployments', table('cart', 'web-one', 'web-two'));
  server.answers.set('GET /api/v1/namespaces', table('default', 'shop'));
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-shells-'));
  symlinkSync(mirrord, path.join(folder, 'mirrord'));
  const KUBECONFIG = await server.writeKubeconfig();
  variables = {
    PATH: `${folder}:${SYSTEM_PATH}`,
    HOME: folder,
    KUBECONFIG,
    TERM: 'xterm',
    LC_ALL: 'C.UTF-8',
    ...PATIENT,
  };
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { stdout, code } = await run([mirrord, 'completions', shell], { variables, folder });
    expect(code).toBe(0);
    writeFileSync(path.join(folder, shell === 'zsh' ? '_mirrord' : `mirrord.${shell}`), stdout);
  }
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

/** The words that bash has cut the line into; the last is being typed. */
async function inBash(...words: string[]): Promise<string[]> {
  const quoted = words.map((word) => `'${word}'`).join(' ');
  const script = [
    'source ./mirrord.bash; compopt() { :; }',
    `COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}`,
    '_mirrord; printf "%s\\n" "${COMPREPLY[@]}"',
  ];
  const { stdout } = await run(['bash', '-c', script.join('\n')], { variables, folder });
  return stdout.split('\n').filter(Boolean);
}

async function inFish(line: string): Promise<string[]> {
  const { stdout } = await run(['fish', '-c', `source ./mirrord.fish; complete -C '${line}'`], { variables, folder });
  return stdout.split('\n').filter(Boolean);
}

/** The line as it stands after a Tab, in a terminal of its own; a key of the test's own has it printed. */
async function inZsh(line: string): Promise<string | undefined> {
  const setup = [
    'PS1=; fpath=($PWD $fpath); autoload -U compinit; compinit -u -D',
    'tell() { print -r -- "LINE<$BUFFER>" }; zle -N tell; bindkey "^T" tell; echo re""ady',
  ];
  writeFileSync(path.join(folder, 'setup.zsh'), setup.join('\n'));
  const script = [
    'zmodload zsh/zpty; zpty z zsh -f -i',
    "zpty -w z 'source ./setup.zsh'; zpty -r z out '*ready*'",
    `zpty -w -n z $'${line}\\t\\x14'`,
    'zpty -r z out \'*LINE<*>*\' && print -r -- "$out"',
    'zpty -d z',
  ];
  const { stdout } = await run(['zsh', '-f', '-c', script.join('\n')], { variables, folder, deadlineMs: 50_000 });
  return /LINE<(.*?)>/.exec(stdout)?.[1];
}

test('bash offers what the cluster has, also behind an equals sign', async () => {
  const deployments = ['deployment/web-one', 'deployment/web-two'];
  expect(await inBash('mirrord', 'exec', '-t', 'deployment/w')).toEqual([]);
  const typed = ['mirrord', 'doctor', '-n', 'shop'];
  expect(await inBash(...typed, '-t', 'deployment/w')).toEqual(deployments);
  expect(await inBash(...typed, '--target', '=', 'deployment/w')).toEqual(deployments);
  expect(await inBash('mirrord', 'ls', '-n', 's')).toEqual(['shop']);
  expect(await inBash('mirrord', 'ls', '--js')).toEqual(['--json']);
});

test('fish offers what the cluster has', async () => {
  expect(await inFish('mirrord doctor -n shop -t deployment/w')).toEqual(['deployment/web-one', 'deployment/web-two']);
  expect(await inFish('mirrord ls -n sh')).toEqual(['shop']);
  expect(await inFish('mirrord ls --js')).toEqual(['--json']);
});

test('zsh completes what the cluster has, on a real terminal', async () => {
  expect(await inZsh('mirrord doctor -n shop -t deployment/web-t')).toBe(
    'mirrord doctor -n shop -t deployment/web-two ',
  );
  expect(await inZsh('mirrord ls -n sh')).toBe('mirrord ls -n shop ');
});
