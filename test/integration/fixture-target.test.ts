import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { startTarget } from '../fixtures/target.ts';

describe.skipIf(!can.root.yes)(`a target of the tests (${can.root.why})`, () => {
  test('has namespaces, files, environment and user of its own', async () => {
    await using target = await startTarget({
      files: { '/etc/hostname': 'shop\n', '/srv/a/b': 'content' },
      env: { NAME: 'value', OTHER: 'x=y' },
      uid: 1234,
    });
    const proc = `/proc/${target.pid}`;
    for (const name of ['net', 'mnt', 'uts', 'pid']) {
      expect(readlinkSync(`${proc}/ns/${name}`)).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
    }
    expect(readFileSync(`${proc}/root/srv/a/b`, 'utf8')).toBe('content');
    expect(readFileSync(`${target.root}/srv/a/b`, 'utf8')).toBe('content');
    expect(readFileSync(`${proc}/environ`, 'utf8')).toBe('NAME=value\0OTHER=x=y\0');
    expect(/^Uid:\s+(\d+)/m.exec(readFileSync(`${proc}/status`, 'utf8'))?.[1]).toBe('1234');
    expect(execFileSync('nsenter', ['-t', String(target.pid), '-u', 'hostname'], { encoding: 'utf8' })).toBe('shop\n');
  });

  test('runs a command and ends with it', async () => {
    const lines: string[] = [];
    const target = await startTarget({
      env: { A: '1' },
      command: ['sh', '-c', 'echo "$A $$"'],
      onLine: (line) => lines.push(line),
    });
    expect(await target.ended).toBe(0);
    expect(lines).toEqual(['1 1']);
    await target.stop();
    expect(existsSync(target.root)).toBe(false);
  });

  test('leaves nothing when it is stopped', async () => {
    const target = await startTarget();
    await target.stop();
    expect(existsSync(`/proc/${target.pid}`)).toBe(false);
    expect(existsSync(target.root)).toBe(false);
  });
});
