// The Role of deploy/role.yaml is enough, and nothing in it is too much: without any one right something does not work, and what
// is said of it names the right.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { run } from '../fixtures/run.ts';
import { AGENT_IMAGE, kubectl, NODE_A, TestNamespace } from './cluster.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

const root = path.join(import.meta.dirname, '../..');
const { rules } = parse(readFileSync(path.join(root, 'deploy/role.yaml'), 'utf8')) as { rules: Rule[] };
/** `get pods`, one for each. */
const RIGHTS = rules.flatMap(({ resources, verbs }) =>
  resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)),
);

const namespace = new TestNamespace();
let folder = '';
const TARGET = ['-t', 'deployment/shop'];
const exec = (...target: string[]) => ['exec', ...target, '--', 'true'];

/** What needs it, and what is said without it. Kinds of workloads are one for all. */
const MISSED: Readonly<Record<string, readonly [command: readonly string[], words: RegExp]>> = {
  'get pods': [exec(...TARGET), /cannot get resource "pods"/],
  'list pods': [exec(...TARGET), /cannot list resource "pods"/],
  'watch pods': [exec(...TARGET), /you may not watch pods in namespace/],
  'create jobs': [exec(...TARGET), /you may not create jobs\.batch in namespace/],
  'delete jobs': [exec(...TARGET), /delete.*jobs/],
  'list jobs': [['clean'], /list jobs\.batch|cannot list resource "jobs"/],
  'patch jobs': [['doctor'], /you may not patch jobs\.batch .*mirrord session stop/],
  'get pods/log': [['doctor'], /you may not get pods\/log .*why an agent did not start/],
  'list events': [['doctor'], /you may not list events .*which rule refused an agent/],
  'get pods/portforward': [['doctor'], /you may not get pods\/portforward .*no SPDY/],
  'create pods/portforward': [['doctor'], /you may not create pods\/portforward .*reaching the agent/],
  'get services': [exec('-t', 'service/shop'), /cannot get resource "services"/],
  'get cronjobs': [exec('-t', 'cronjob/shop'), /cannot get resource "cronjobs"/],
  'get jobs': [exec('-t', 'job/shop'), /cannot get resource "jobs"/],
};

function missed(right: string): readonly [readonly string[], RegExp] {
  const [verb = '', resource = ''] = right.split(' ');
  const kind = resource.slice(0, -1);
  const known = MISSED[right];
  if (known !== undefined) return known;
  if (verb === 'list') return [['ls', '-t', kind], new RegExp(`${resource}.* is forbidden`)];
  return [exec('-t', `${kind}/shop`), new RegExp(`cannot get resource "${resource}"`)];
}

const nameOf = (right: string) => `without-${right.replaceAll(/[^a-z]/g, '-')}`;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-role-'));
  await namespace.create();
  await namespace.deploy('shop', 'node', NODE_A);
  await namespace.apply([
    ...grant('whole', rules),
    ...RIGHTS.flatMap((right) => grant(nameOf(right), rulesWithout(right))),
  ]);
  const config = JSON.parse(await kubectl(['config', 'view', '--raw', '--minify', '--flatten', '-o', 'json']));
  for (const name of ['whole', ...RIGHTS.map(nameOf)]) {
    const [{ user }] = config.users;
    const users = [{ ...config.users[0], user: { ...user, as: `system:serviceaccount:${namespace.name}:${name}` } }];
    writeFileSync(path.join(folder, name), JSON.stringify({ ...config, users }), { mode: 0o600 });
  }
  await namespace.ready('shop');
});
afterEach(() => namespace.assertClean());
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await namespace.delete();
});

function grant(name: string, granted: readonly Rule[]): object[] {
  const api = { apiVersion: 'rbac.authorization.k8s.io/v1' };
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name };
  const subjects = [{ kind: 'ServiceAccount', name, namespace: namespace.name }];
  return [
    { ...api, kind: 'Role', metadata: { name }, rules: granted },
    { ...api, kind: 'RoleBinding', metadata: { name }, roleRef, subjects },
  ];
}

function rulesWithout(right: string): Rule[] {
  const [verb, resource] = right.split(' ');
  return rules.flatMap((rule) => {
    const others = rule.resources.filter((one) => one !== resource);
    const isHere = others.length < rule.resources.length;
    return [
      ...(others.length > 0 ? [{ ...rule, resources: others }] : []),
      ...(isHere ? [{ ...rule, resources: [resource ?? ''], verbs: rule.verbs.filter((one) => one !== verb) }] : []),
    ].filter(({ verbs }) => verbs.length > 0);
  });
}

async function mirrord(user: string, command: readonly string[]) {
  const [word = '', ...rest] = command;
  const variables = {
    PATH: process.env['PATH'] ?? '',
    HOME: folder,
    KUBECONFIG: path.join(folder, user),
    MIRRORD_AGENT_IMAGE: AGENT_IMAGE,
  };
  const words = [path.join(root, 'bin/mirrord'), word, '-n', namespace.name, ...rest];
  return run(words, { variables, folder, deadlineMs: 120_000 });
}

test('with the whole of it every command does what it is for', async () => {
  const command = ['exec', ...TARGET, '--', 'sh', '-c', 'echo "$SERVICE"'];
  expect(await mirrord('whole', command)).toMatchObject({ stdout: 'shop\n', code: 0 });
  const ls = await mirrord('whole', ['ls', '-o', 'name']);
  expect([ls.stdout, ls.stderr]).toEqual([expect.stringMatching(/^deployment\/shop\nservice\/shop\npod\/shop-/), '']);
  expect((await mirrord('whole', ['clean'])).code).toBe(0);
  const doctor = await mirrord('whole', ['doctor', ...TARGET]);
  expect(doctor.stdout).toContain(`you have every right that a session needs in namespace ${namespace.name}`);
  expect(doctor.stdout).not.toContain('you may not');
});

test('without any one right something does not work, and what is said names the right', async () => {
  const waiting = [...RIGHTS];
  const wrong: unknown[] = [];
  const look = async () => {
    for (let right = waiting.shift(); right !== undefined; right = waiting.shift()) {
      const [command, words] = missed(right);
      const { stdout, stderr } = await mirrord(nameOf(right), command);
      if (!words.test(stdout + stderr)) wrong.push({ right, command: command.join(' '), words, stdout, stderr });
    }
  };
  await Promise.all([look(), look(), look()]);
  expect(wrong).toEqual([]);
});
