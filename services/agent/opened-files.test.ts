import { describe, expect, test } from 'vitest';
import { FileReply, FileRequest, type FileStat } from '#proto/gen/v1/fs_env.ts';
import { type FileOperation, OpenedFiles } from './opened-files.ts';

const [O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_APPEND] = [0o1, 0o100, 0o200, 0o1000, 0o2000];

const STAT: FileStat = {
  device: 8n,
  inode: 11n,
  mode: 0o100_644,
  links: 1,
  uid: 0,
  gid: 0,
  specialDevice: 0n,
  size: 100n,
  blockSize: 4096,
  blocks: 8n,
  accessedNs: 1n,
  modifiedNs: 2n,
  changedNs: 3n,
  bornNs: 4n,
};

const request = (op: FileOperation) => FileRequest.encode({ op }).finish();
const open = (flags = 0, path = '/a') =>
  request({ $case: 'open', value: { path: Buffer.from(path), flags, mode: 0, inlineBytes: 0 } });
const opened = (handle: number, stat: Partial<FileStat> = {}) =>
  FileReply.encode({ errno: 0, result: { $case: 'opened', value: { handle, stat: { ...STAT, ...stat } } } }).finish();
const read = (handle: number) => request({ $case: 'read', value: { handle, offset: 0n, length: 1 } });
const handleIn = (head: Uint8Array | null) => {
  const { op } = FileRequest.decode(head ?? Buffer.alloc(0));
  return op?.$case === 'read' ? op.value.handle : null;
};

test('until fs-env is lost replies and numbers are as fs-env gives them', () => {
  const files = new OpenedFiles();
  const reply = opened(300);
  expect(files.opened(open(), reply)).toBe(reply);
  expect(files.haveMoved).toBe(false);
});

test('a file that is the same is known by its old number, and what is opened later by one that is free', () => {
  const files = new OpenedFiles();
  files.opened(open(), opened(300));
  const [again] = files.moving();
  expect(again).toMatchObject({ number: 300, path: Buffer.from('/a') });
  expect(files.renumbered(read(300))).toBe(null);
  expect(files.found(300, opened(1))).toEqual({ isSame: true, unwanted: null });
  expect(handleIn(files.renumbered(read(300)))).toBe(1);
  const { result } = FileReply.decode(files.opened(open(), opened(300)));
  const number = result?.$case === 'opened' ? result.value.handle : 0;
  expect(number).not.toBe(300);
  expect(handleIn(files.renumbered(read(number)))).toBe(300);
  expect(handleIn(files.renumbered(read(300)))).toBe(1);
});

test('it is opened again as it was, but never made, emptied or waited for', () => {
  const files = new OpenedFiles();
  files.opened(open(O_WRONLY | O_CREAT | O_EXCL | O_TRUNC | O_APPEND), opened(1));
  const { op } = FileRequest.decode(files.moving()[0]?.request ?? Buffer.alloc(0));
  expect(op?.$case === 'open' && op.value).toMatchObject({ flags: O_WRONLY | O_APPEND | 0o4000, keepOpen: true });
});

test.each<[string, Partial<FileStat>, number, boolean]>([
  ['has grown', { size: 200n, modifiedNs: 9n }, 0, true],
  ['was born later', { bornNs: 5n }, 0, false],
  ['is on another device', { device: 9n }, 0, false],
  ['has another number', { inode: 12n }, O_WRONLY, false],
  ['is a folder now', { mode: 0o040_755 }, 0, false],
])('a file that %s', (_how, stat, flags, isSame) => {
  const files = new OpenedFiles();
  files.opened(open(flags), opened(1));
  files.moving();
  expect(files.found(1, opened(7, stat))).toEqual({ isSame, unwanted: isSame ? null : 7 });
});

test('where nobody knows when a file was born, what was read must be unchanged, and what was written need not', () => {
  for (const [flags, isSame] of [
    [0, false],
    [O_WRONLY, true],
  ] as const) {
    const files = new OpenedFiles();
    files.opened(open(flags), opened(1, { bornNs: 0n }));
    files.moving();
    expect(files.found(1, opened(7, { bornNs: 0n, size: 101n })).isSame).toBe(isSame);
  }
});

test.each([
  ['a pipe', { mode: 0o010_644 }],
  ['a device', { mode: 0o020_644 }],
])('%s is not opened again: it is somebody’s conversation', (_what, stat) => {
  const files = new OpenedFiles();
  files.opened(open(), opened(1, stat));
  expect(files.moving()[0]?.request).toBe(null);
});

test('what was closed is forgotten, also while it is being opened again', () => {
  const files = new OpenedFiles();
  const close = request({ $case: 'close', value: { handle: 1 } });
  files.opened(open(), opened(1));
  files.moving();
  files.closed(close);
  expect(files.found(1, opened(7))).toEqual({ isSame: true, unwanted: 7 });
  expect(files.moving()).toEqual([]);
});

describe('what nobody knows the fate of', () => {
  const files = new OpenedFiles();
  files.opened(open(O_WRONLY), opened(1));
  files.opened(open(O_WRONLY | O_APPEND), opened(2));
  const path = Buffer.from('/a');
  test.each<[string, Uint8Array, boolean]>([
    ['a read', read(1), true],
    ['a write at a place', request({ $case: 'write', value: { handle: 1, offset: 3n } }), true],
    ['a write to the end', request({ $case: 'write', value: { handle: 2, offset: 3n } }), false],
    ['an open', open(O_CREAT | O_TRUNC), true],
    ['an open of what must not be there', open(O_CREAT | O_EXCL), false],
    ['a new folder', request({ $case: 'makeDir', value: { path, mode: 0 } }), false],
    ['a removal', request({ $case: 'unlink', value: { path } }), false],
    ['a rename', request({ $case: 'rename', value: { from: path, to: path, flags: 0 } }), false],
  ])('%s: asked again %s', (_what, head, isRepeatable) => {
    expect(files.isRepeatable(head)).toBe(isRepeatable);
  });
});
