import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findCommand, parseArguments } from '../arguments.ts';
import { startTicksOf } from '../runtime-folder.ts';
import { SessionRecord } from '../sessions/record.ts';
import { ApiServer } from '../testing/api-server.ts';
import { keepTerminal } from '../testing/terminal.ts';
import { session } from './session.ts';

const FACTS = { target: 'pid/4711', from: 'bob@desk', incoming: 'steal everything' };
const JOB = '/apis/batch/v1/namespaces/shop/jobs/agent-1';

let server: ApiServer;
let record: SessionRecord | null = null;
beforeEach(async () => {
  server = await ApiServer.start();
  const annotations = {
    'mirrord.dev/target': 'deployment/shop',
    'mirrord.dev/from': 'alice@\u0007lap',
    'mirrord.dev/ports': '80,8080,x,0',
    'mirrord.dev/incoming': 'steal {"header_filter":"^x-user: alice$"}',
  };
  const metadata = {
    name: 'agent-1',
    namespace: 'shop',
    uid: 'u1',
    labels: { 'mirrord.dev/session': 'abc1' },
    annotations,
  };
  const job = { metadata: { ...metadata, creationTimestamp: '2026-01-01T00:00:00Z' }, status: { active: 1 } };
  server.answers.set('GET /apis/batch/v1/namespaces/shop/jobs', { items: [job] });
  server.answers.set('GET /api/v1/namespaces/shop/pods', { items: [] });
  server.answers.set(`PATCH ${JOB}`, job);
  server.answers.set(`DELETE ${JOB}`, {});
});
afterEach(async () => {
  record?.close();
  record = null;
  await server.close();
});

/** Sessions of others on this machine are none of ours. */
const here = () => ({ XDG_RUNTIME_DIR: server.folder, TMPDIR: server.folder });

async function run(...words: string[]) {
  const kubeconfig = await server.writeKubeconfig({ context: { namespace: 'shop' } });
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig, ...here() });
  await session(parseArguments(findCommand('session'), words), terminal);
  return { out: terminal.outText, err: terminal.errText };
}

test('sessions of this machine and of the namespace are listed: who, what, since when, from where', async () => {
  record = SessionRecord.open(here(), 'local1', FACTS);
  record?.addPort(8080, 'steals everything of port 8080 since 2026-01-01T00:00:01.000Z');
  const { out } = await run('list');
  expect(out.split('\n')).toEqual([
    expect.stringMatching(
      /^local1 {2}pid\/4711 {2}steal everything on 8080 {2}since 20\S+ {2}from bob@desk {2}\(process \d+\)$/,
    ),
    '    steals everything of port 8080 since 2026-01-01T00:00:01.000Z',
    'abc1  deployment/shop  steal {"header_filter":"^x-user: alice$"} on 80, 8080  since 2026-01-01T00:00:00.000Z  from alice@\\u0007lap  (job/agent-1 in shop)',
    '',
  ]);
  expect(JSON.parse((await run('list', '--json')).out)).toMatchObject([
    { id: 'local1', ports: [8080], leases: [expect.stringContaining('00:00:01')] },
    { id: 'abc1' },
  ]);
});

test('ports are told to others one after the other, the last time all of them, and a refusal is no fault', async () => {
  const told: string[] = [];
  let go = () => {};
  const tell = async (ports: readonly number[]) => {
    told.push(ports.join());
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    if (told.length === 3) throw new Error('no');
  };
  record = SessionRecord.open(here(), 'local3', FACTS, tell);
  for (const port of [8080, 80, 443, 80]) record?.addPort(port);
  expect(told).toEqual(['8080']);
  go();
  await expect.poll(() => told).toEqual(['8080', '80,443,8080']);
  go();
  await new Promise(setImmediate);
  record?.addPort(1);
  expect(told[2]).toBe('1,80,443,8080');
  go();
  await new Promise(setImmediate);
  record?.addPort(2);
  expect(told).toHaveLength(4);
  go();
});

test('a record whose client is gone is no session, and goes', async () => {
  const left = path.join(server.folder, 'mirrord-session-1-1-old1.json');
  writeFileSync(left, JSON.stringify({ ...FACTS, id: 'old1', pid: 1, startedAt: '', ports: [] }));
  expect((await run('list')).out).not.toContain('old1');
  expect(existsSync(left)).toBe(false);
});

test('a record that is damaged hides no other, and what it says of its process is not believed', async () => {
  const own = startTicksOf('self');
  const damaged = path.join(server.folder, `mirrord-session-${process.pid}-${own}-half1.json`);
  const lying = path.join(server.folder, `mirrord-session-${process.pid}-${own}-liar1.json`);
  writeFileSync(damaged, '{"id":"half1"', { mode: 0o600 });
  writeFileSync(lying, JSON.stringify({ ...FACTS, id: 'liar1', pid: 1, startedAt: '', ports: [] }), { mode: 0o600 });
  expect((await run('list')).out).toMatch(new RegExp(`^liar1 {2}pid/4711 .*\\(process ${process.pid}\\)\nabc1 .*\n$`));
  expect(existsSync(damaged)).toBe(false);
});

test('sessions of this machine are shown before the cluster has answered', async () => {
  record = SessionRecord.open(here(), 'local4', FACTS);
  const kubeconfig = await server.writeKubeconfig({ context: { namespace: 'shop' } });
  const terminal = keepTerminal(server.folder, { KUBECONFIG: kubeconfig, ...here() });
  const listed = session(parseArguments(findCommand('session'), ['list']), terminal);
  expect(terminal.outText).toMatch(/^local4 /);
  await listed;
});

test('a session of the cluster is stopped by its job, on which its owner finds who did it', async () => {
  expect((await run('stop', 'abc1')).out).toBe('stopped abc1, job/agent-1 in shop\n');
  const changes = server.seen.filter(({ method }) => method !== 'GET');
  expect(changes.map(({ method, path: at }) => `${method} ${at}`)).toEqual([`PATCH ${JOB}`, `DELETE ${JOB}`]);
});

test('who may not write on a job may still end its session', async () => {
  server.answers.set(`PATCH ${JOB}`, 403);
  expect((await run('stop', 'abc1')).out).toContain('stopped abc1');
});

test('a session of this machine is asked to end, and told by whom', async () => {
  const sleeper = spawn('sleep', ['600']);
  await once(sleeper, 'spawn');
  const name = `mirrord-session-${sleeper.pid}-${startTicksOf(String(sleeper.pid))}-local2.json`;
  const file = path.join(server.folder, name);
  writeFileSync(file, JSON.stringify({ ...FACTS, id: 'local2', pid: sleeper.pid, startedAt: '', ports: [] }), {
    mode: 0o600,
  });
  const stopped = run('stop', 'local2');
  const [, signal] = await once(sleeper, 'exit');
  expect(signal).toBe('SIGTERM');
  expect(readFileSync(file.replace('.json', '.stop'), 'utf8')).toMatch(/^\S+@\S+$/);
  expect((await stopped).out).toBe(`stopped local2, process ${sleeper.pid}\n`);
});

test('what is no session is said to be none, and words that mean nothing are refused', async () => {
  server.answers.set('GET /apis/batch/v1/namespaces/shop/jobs', { items: [] });
  await expect(run('stop', 'nobody')).rejects.toThrow('no session "nobody" runs here');
  await expect(run('stop', '../x')).rejects.toThrow('no session "../x" runs here');
  await expect(run('start')).rejects.toThrow('session wants: list, or stop ID');
  await expect(run('list', 'all')).rejects.toThrow('session wants: list, or stop ID');
});
