import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parse } from 'yaml';
import { findCommand, parseArguments } from '../arguments.ts';
import { describeRight, RIGHTS } from '../kube/rights.ts';
import { ApiServer } from '../testing/api-server.ts';
import { keepTerminal } from '../testing/terminal.ts';
import { doctor } from './doctor.ts';

let server: ApiServer;
let denied: (attributes: Record<string, string>) => boolean;
beforeEach(async () => {
  server = await ApiServer.start();
  denied = () => false;
  server.answers.set('GET /version', { gitVersion: 'v1.31.0' });
  server.answers.set('GET /api/v1/namespaces/shop', { metadata: { name: 'shop' } });
  server.answers.set('POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews', async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { resourceAttributes } = JSON.parse(body).spec;
    response.end(JSON.stringify({ status: { allowed: !denied(resourceAttributes) } }));
  });
});
afterEach(() => server.close());

async function run(args: readonly string[] = []) {
  const kubeconfig = await server.writeKubeconfig({ context: { namespace: 'shop' }, user: { token: 'x' } });
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig });
  const outcome = await doctor(parseArguments(findCommand('doctor'), args), terminal);
  return { outcome, out: terminal.outText };
}

test('a cluster that answers and grants everything is well', async () => {
  const { out } = await run();
  expect(out).toMatch(/ok {7}context test: Kubernetes v1\.31\.0 at 127\.0\.0\.1:\d+ answers in \d+ ms \(token\)/);
  expect(out).toContain('you have every right that a session needs in namespace shop');
});

test('a right that is missing is named with what it is for; one that is needed fails', async () => {
  denied = ({ resource = '', verb }) => resource === 'cronjobs' || (resource === 'jobs' && verb === 'create');
  const { out, outcome } = await run();
  expect(out).toContain('note     you may not get cronjobs.batch in namespace shop');
  expect(out).toContain('FAILS    you may not create jobs.batch in namespace shop: needed for starting the agent');
  expect(out).toContain('(whoever grants rights');
  expect(outcome).toEqual({ kind: 'exit', code: 1 });
});

test('rights of the agent are asked for in its own namespace', async () => {
  const asked = new Set<string>();
  denied = ({ namespace = '', resource = '' }) => {
    asked.add(`${resource} ${namespace}`);
    return false;
  };
  await run(['-n', 'other', '-f', await writeConfig('{"agent": {"namespace": "shop"}}')]);
  expect([...asked]).toContain('deployments other');
  expect([...asked]).toContain('pods shop');
});

async function writeConfig(text: string): Promise<string> {
  const { writeFile } = await import('node:fs/promises');
  const file = `${server.folder}/mirrord.json`;
  await writeFile(file, text);
  return file;
}

test('a namespace that would refuse the agent is found before the agent is', async () => {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  server.answers.set('GET /api/v1/namespaces/shop', { metadata: { name: 'shop', labels } });
  expect((await run()).out).toContain('FAILS    namespace shop enforces the Pod Security Standard restricted');
});

test('a cluster that does not answer is one finding among the others', async () => {
  server.answers.set('GET /version', 401);
  const { out, outcome } = await run();
  expect(out).toContain('ok       ');
  expect(out).toContain('FAILS    the cluster refused to get /version (401 Unauthorized)');
  expect(outcome).toEqual({ kind: 'exit', code: 1 });
});

test('--json is a list of findings', async () => {
  const findings = JSON.parse((await run(['--json'])).out) as { level: string; area: string }[];
  expect(findings.find(({ area }) => area === 'rights')?.level).toBe('ok');
});

test('the Role of docs/kubernetes.md grants every right that a session needs, and no others', () => {
  const text = readFileSync(new URL('../../docs/kubernetes.md', import.meta.url), 'utf8');
  const block = /```yaml\n(kind: Role\n[\s\S]*?)```/.exec(text)?.[1] ?? '';
  expect(parse(readFileSync(new URL('../../deploy/role.yaml', import.meta.url), 'utf8'))).toEqual(parse(block));
  const { rules } = parse(block) as { rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[] };
  const granted = rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((full) =>
        verbs.map((verb) => {
          const [resource = '', subresource] = full.split('/');
          return describeRight({
            verb,
            group,
            resource,
            ...(subresource === undefined ? {} : { subresource }),
          } as never);
        }),
      ),
    ),
  );
  expect([...new Set(granted)].sort()).toEqual([...new Set(RIGHTS.map(describeRight))].sort());
});
