import { expect, test } from 'vitest';
import { judgeLocal, type LocalFacts } from './doctor-local.ts';
import { judgeNode } from './doctor-node.ts';

const GOOD: LocalFacts = {
  platform: 'linux',
  arch: 'x64',
  release: '6.1.0-30-amd64',
  isRoot: false,
  hasSupervisor: true,
  seccompActions: 'kill_process trap errno user_notif allow',
  ptraceScope: '1',
  canUseFuse: true,
  isInsideSession: false,
};

test.each<[string, Partial<LocalFacts>, string, string]>([
  ['nothing', {}, 'ok', 'has what the layer needs'],
  ['macOS', { platform: 'darwin', arch: 'arm64' }, 'fail', 'this machine is darwin/arm64'],
  ['an old kernel', { release: '5.10.0-amd64' }, 'fail', 'Linux 5.10.0-amd64 is too old'],
  ['a kernel without user notification', { seccompActions: 'trap allow' }, 'fail', 'no seccomp user notification'],
  ['Yama', { ptraceScope: '2' }, 'fail', 'ptrace_scope is 2'],
  ['a build that is not finished', { hasSupervisor: false }, 'fail', 'the supervisor is not built'],
  ['no FUSE', { canUseFuse: false }, 'warn', '/dev/fuse cannot be used'],
  ['a session around it', { isInsideSession: true }, 'warn', 'inside a session'],
])('here: %s in the way', (_, facts, level, text) => {
  const findings = judgeLocal({ ...GOOD, ...facts });
  expect(findings).toContainEqual(expect.objectContaining({ level, what: expect.stringContaining(text) }));
  for (const finding of findings.filter(({ level: found }) => found === 'fail')) expect(finding.advice).toBeTruthy();
});

test('Yama does not bind root, and machines without it are fine', () => {
  for (const facts of [{ ptraceScope: '2', isRoot: true }, { ptraceScope: null }, { seccompActions: null }]) {
    expect(judgeLocal({ ...GOOD, ...facts }).every(({ level }) => level === 'ok')).toBe(true);
  }
});

const node = (nodeInfo: object, rest: object = {}) => ({ status: { nodeInfo, ...rest } });
const MODERN = { kernelVersion: '6.1.0', operatingSystem: 'linux', architecture: 'amd64', osImage: 'Debian' };

test.each<[string, object, object, string, string]>([
  ['a modern one', MODERN, {}, 'ok', 'has what the agent needs'],
  ['Windows', { operatingSystem: 'windows' }, {}, 'fail', 'runs windows'],
  ['no openat2', { ...MODERN, kernelVersion: '5.4.0' }, {}, 'fail', 'too old for files'],
  ['no sk_lookup', { ...MODERN, kernelVersion: '5.8.9' }, {}, 'warn', 'redirects by nf_tables'],
  ['another architecture', { ...MODERN, architecture: 'arm64' }, {}, 'warn', 'is arm64'],
  ['one that is not ready', MODERN, { conditions: [{ type: 'Ready', status: 'False' }] }, 'warn', 'is not ready'],
  ['one that says nothing', {}, {}, 'unknown', 'does not tell its kernel'],
])('node: %s', (_, info, rest, level, text) => {
  const findings = judgeNode('n', node(info, rest), 'mirrord/agent:1');
  expect(findings).toContainEqual(expect.objectContaining({ level, what: expect.stringContaining(text) }));
});

test.each([
  ['mirrord/agent:1', ['docker.io/mirrord/agent:1'], 'ok'],
  ['agent', ['docker.io/library/agent:latest'], 'ok'],
  ['registry.test:5000/agent', ['registry.test:5000/agent:latest'], 'ok'],
  ['mirrord/agent:2', ['docker.io/mirrord/agent:1'], 'warn'],
  ['mirrord/agent:2', Array.from({ length: 50 }, (_, at) => `x:${at}`), 'unknown'],
] as const)('image %s beside %j: %s', (image, names, level) => {
  const images = names.map((name) => ({ names: [name] }));
  expect(judgeNode('n', node(MODERN, { images }), image).at(-1)?.level).toBe(level);
});
