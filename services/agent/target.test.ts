import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { resolveTarget, targetText } from './target.ts';

const pid = (value: number) => ({ target: { $case: 'pid', value } as const });
const container = (value: string) => ({ target: { $case: 'container', value } as const });
const id = (digits: string) => digits.padEnd(64, '0');

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'target-'));
});
afterEach(() => rmSync(root, { recursive: true }));

interface Given {
  name?: string;
  state?: string;
  flags?: number;
  startTime?: number;
  cgroup?: string;
  status?: string;
}

function givenProcess(number: number, given: Given = {}): void {
  const { name = 'shop', state = 'S', flags = 0x400000, startTime = 100, cgroup = '0::/', status } = given;
  const folder = path.join(root, 'proc', String(number));
  mkdirSync(folder, { recursive: true });
  const zeros = Array.from({ length: 12 }, () => '0').join(' ');
  writeFileSync(
    path.join(folder, 'stat'),
    `${number} (${name}) ${state} 1 1 1 0 -1 ${flags} ${zeros} ${startTime} 0 0`,
  );
  writeFileSync(path.join(folder, 'cgroup'), cgroup);
  writeFileSync(path.join(folder, 'status'), status ?? `Name:\t${name}\nTgid:\t${number}\nNSpid:\t${number}\n`);
}

function dockerContainer(containerId: string, name: string): void {
  const folder = path.join(root, 'var/lib/docker/containers', containerId);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, 'config.v2.json'), JSON.stringify({ Name: `/${name}` }));
}

describe('pid/N', () => {
  test('is the process with its start time', () => {
    givenProcess(41, { startTime: 987_654_321 });
    expect(resolveTarget(pid(41), root)).toEqual({ pid: 41, startTimeTicks: 987_654_321n, containerId: '' });
  });

  test('a process of this machine is found, with the container it is in, if any', async () => {
    const child = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] });
    await once(child, 'spawn');
    const target = resolveTarget(pid(child.pid as number));
    expect(target.startTimeTicks).toBeGreaterThan(0n);
    child.stdin.end();
    await once(child, 'close');
    expect(() => resolveTarget(pid(child.pid as number))).toThrow('no process');
  });

  test('a name with parentheses and spaces does not shift the start time', () => {
    givenProcess(41, { name: 'a) S 1 (b', startTime: 77 });
    expect(resolveTarget(pid(41), root).startTimeTicks).toBe(77n);
  });

  test.each([
    ['nobody', 42, {}, 'no process 42 on this machine'],
    ['a thread of the kernel', 41, { flags: 0x208040 }, 'process 41 is a thread of the kernel'],
    ['a zombie', 41, { state: 'Z' }, 'process 41 has ended'],
    ['a thread', 41, { status: 'Tgid:\t40\n' }, '41 is a thread of process 40'],
  ])('%s is TARGET_NOT_FOUND', (_, number, given, message) => {
    givenProcess(41, given);
    expect(() => resolveTarget(pid(number), root)).toThrow(
      expect.objectContaining({ code: 'TARGET_NOT_FOUND', message }),
    );
  });
});

describe('container/NAME-or-ID', () => {
  beforeEach(() => {
    dockerContainer(id('abcd1'), 'shop');
    dockerContainer(id('abcd2'), 'till');
    dockerContainer(id('eeee'), 'gone');
    givenProcess(50, { startTime: 5, cgroup: `0::/docker/${id('abcd1')}` });
    givenProcess(51, { startTime: 9, cgroup: `0::/docker/${id('abcd1')}`, status: 'Tgid:\t51\nNSpid:\t51\t1\n' });
    givenProcess(60, { startTime: 8, cgroup: `0::/docker/${id('abcd2')}` });
    givenProcess(61, { startTime: 7, cgroup: `0::/docker/${id('abcd2')}` });
  });

  test('the main process is the first of its PID namespace, though an older one was moved in', () => {
    expect(resolveTarget(container('shop'), root)).toEqual({
      pid: 51,
      startTimeTicks: 9n,
      containerId: id('abcd1'),
    });
  });

  test('without a PID namespace it is the one that began first', () => {
    expect(resolveTarget(container('till'), root).pid).toBe(61);
  });

  test('a beginning of the id is enough when it is one container', () => {
    expect(resolveTarget(container('abcd2'), root).pid).toBe(61);
    expect(resolveTarget(container(id('abcd1')), root).pid).toBe(51);
  });

  test.each([
    ['abcd', '2 containers are meant by "abcd": shop (abcd10000000), till (abcd20000000)'],
    ['abc', 'no container "abc" on this machine; running: shop (abcd10000000), till (abcd20000000)'],
    ['shp', 'no container "shp" on this machine; running: shop (abcd10000000), till (abcd20000000)'],
    ['tall', 'no container "tall" on this machine; running: till (abcd20000000), shop (abcd10000000)'],
    ['gone', 'container "gone" is not running; running: shop (abcd10000000), till (abcd20000000)'],
  ])('%s is TARGET_NOT_FOUND and says what is near', (name, message) => {
    expect(() => resolveTarget(container(name), root)).toThrow(
      expect.objectContaining({ code: 'TARGET_NOT_FOUND', message }),
    );
  });

  test('a name that two containers bear is not guessed', () => {
    dockerContainer(id('abcd2'), 'shop');
    expect(() => resolveTarget(container('shop'), root)).toThrow('2 containers are meant by "shop"');
  });
});

test('a machine without containers says so', () => {
  expect(() => resolveTarget(container('shop'), root)).toThrow('no container "shop" on this machine; none is running');
});

test('a session without a target is a violation', () => {
  expect(() => resolveTarget(undefined, root)).toThrow(expect.objectContaining({ code: 'PROTOCOL_VIOLATION' }));
  expect(targetText(undefined)).toBe('nothing');
  expect(targetText(container('shop'))).toBe('container/shop');
});
