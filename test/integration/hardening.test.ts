// What other users of the machine see and reach of a run: nothing that helps them.

import { chmodSync, lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { type RunningTarget, startTarget } from '../fixtures/target.ts';
import { ExecHarness, type Run } from './exec-harness.ts';

function childOf(parent: number, name: string): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ').map(Number);
  return children.find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name) ?? 0;
}

describe.skipIf(!can.root.yes)(`a run on a machine with other users (${can.root.why})`, () => {
  let target: RunningTarget;
  let harness: ExecHarness;
  let run: Run;
  let folder: string;

  beforeAll(async () => {
    target = await startTarget({ env: { SECRET: 'x' } });
    harness = new ExecHarness();
    chmodSync(harness.folder, 0o755);
    run = harness.start([
      'exec',
      '-t',
      `pid/${target.pid}`,
      '--progress',
      'off',
      '--',
      'sh',
      '-c',
      'echo up; exec cat',
    ]);
    await run.said('up');
    folder = path.join(
      harness.folder,
      readdirSync(harness.folder).find((name) => name.startsWith('mirrord-run-')) ?? '',
    );
  });

  afterAll(async () => {
    run.child.stdin?.end();
    await run.outcome;
    await harness.leavesNothing();
    harness.close();
    await target.stop();
  });

  const status = (pid: number, field: string) =>
    new RegExp(`^${field}:\\s*(\\S+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  const ours = ['dist/agent.js', 'dist/fs-env.js', 'nats-server'] as const;
  /** Not the shell around the agent. */
  const service = (word: string) =>
    harness
      .processes()
      .find(({ command }) => command.startsWith('/') && command.endsWith(word) && !command.startsWith('/bin/sh'))
      ?.pid ?? 0;
  const natsPort = () => Number(/127\.0\.0\.1:(\d+)/.exec(readFileSync(path.join(folder, 'nats.conf'), 'utf8'))?.[1]);

  test('the folder, and everything in it, is closed to them', () => {
    expect(lstatSync(folder).mode & 0o777).toBe(0o700);
    const modes = readdirSync(folder).map((name) => [name, lstatSync(path.join(folder, name)).mode & 0o777]);
    expect(modes.filter(([name, mode]) => mode !== (name === 'nats' ? 0o700 : 0o600))).toEqual([]);
    expect(modes.map(([name]) => name).sort()).toEqual([
      'agent.log',
      'fs-env.sock',
      'gateway.sock',
      'key',
      'nats',
      'nats.conf',
      'nsswitch.conf',
    ]);
  });

  test('no secret stands in a command line', () => {
    const key = readFileSync(path.join(folder, 'key'), 'utf8').trim();
    const config = readFileSync(path.join(folder, 'nats.conf'), 'utf8');
    const passwords = [...config.matchAll(/password: "([0-9a-f]{48})"/g)].map(([, password = '']) => password);
    expect(passwords).toHaveLength(4);
    for (const { command } of harness.processes()) {
      for (const secret of [key, ...passwords]) expect(command).not.toContain(secret);
    }
  });

  test.each(ours)('%s writes no core file and gains no privilege', (word) => {
    // nats-server's environment names no folder of ours.
    const pid = word === 'nats-server' ? childOf(service('dist/agent.js'), word) : service(word);
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 /m);
    if (word !== 'dist/agent.js') expect(status(pid, 'NoNewPrivs')).toBe('1');
    if (word === 'nats-server')
      expect([status(pid, 'CapEff'), status(pid, 'CapBnd')]).toEqual(Array(2).fill('0'.repeat(16)));
  });

  test('nats-server listens on loopback alone, and tells nothing to who has no password', async () => {
    const listening = readFileSync('/proc/net/tcp', 'utf8') + readFileSync('/proc/net/tcp6', 'utf8');
    const port = natsPort().toString(16).toUpperCase().padStart(4, '0');
    const places = [...listening.matchAll(new RegExp(`([0-9A-F]+):${port} \\S+ 0A `, 'g'))].map(
      ([, address]) => address,
    );
    expect(places).toEqual(['0100007F']);
    const socket = net.connect({ port: natsPort(), host: '127.0.0.1' });
    let said = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    socket.on('error', () => undefined);
    socket.write('CONNECT {"verbose":false}\r\nSUB > 1\r\nPING\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect(said).toContain('Authorization Violation');
    expect(said).not.toContain('MSG');
  });

  test('a SIGUSR1 opens no debugger', async () => {
    for (const word of ['dist/agent.js', 'dist/fs-env.js'] as const) {
      process.kill(service(word), 'SIGUSR1');
    }
    run.child.stdin?.write('still here\n');
    await run.said('still here');
    const debuggers = readFileSync('/proc/net/tcp', 'utf8').match(/0100007F:240D \S+ 0A /g);
    expect(debuggers).toBeNull();
    expect(readFileSync(path.join(folder, 'agent.log'), 'utf8')).not.toContain('Debugger');
  });
});

test('who has taken an agent’s place is not believed: no program starts with what it says', async () => {
  const harness = new ExecHarness();
  const impostor = http2.createServer();
  // Who finds it out goes away without a word.
  const ignored = () => undefined;
  impostor.on('connection', (socket) => socket.on('error', ignored)).on('sessionError', ignored);
  impostor.on('stream', (stream) =>
    stream.on('error', ignored).respond({ ':status': 200, 'content-type': 'application/grpc' }),
  );
  const socket = path.join(harness.folder, 'gateway.sock');
  await new Promise<void>((resolve) => impostor.listen(socket, resolve));
  writeFileSync(path.join(harness.folder, 'key'), 'ab'.repeat(32), { mode: 0o600 });
  const { code, stdout, stderr } = await harness.run(['exec', '-t', 'pid/1', '--', 'echo', 'started'], {
    variables: { MIRRORD_AGENT_ADDRESS: `unix:${socket}`, MIRRORD_AGENT_KEY_FILE: path.join(harness.folder, 'key') },
  });
  expect([code, stdout]).toEqual([3, '']);
  expect(stderr).toContain('does not know the session key');
  impostor.close();
  harness.close();
});
