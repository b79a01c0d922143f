// One request to one call of the addon. Here is no policy but that of handles: numbers to files, and the order of requests
// on one of them.

import { ERRNO, type ErrnoName } from '#proto/errno.ts';
import { MAX_DATA_BYTES } from '#proto/frame.ts';
import { FileReply, type FileRequest, type SetAttributes, type Time } from '#proto/gen/v1/fs_env.ts';
import type { Handles, OpenHandle } from './handles.ts';
import { type Answer, native, type OpenFile, type Target, type TimeChange } from './native/index.ts';
import { whenReady } from './wait-ready.ts';

export type FileOperation = NonNullable<FileRequest['op']>;

export interface FileWorld {
  readonly target: Target;
  readonly handles: Handles;
}

/** Runs a call in the kernel's reach when the session may have one more. */
export type Runner = (call: () => Promise<Answer>) => Promise<Answer>;

const MAX_ENTRIES = 1_000;
const O_NONBLOCK = 0o4000;

/** Called in the order in which requests come: the turn at a handle is taken at once, whenever it comes. */
export function performOperation(
  world: FileWorld,
  operation: FileOperation,
  data: Uint8Array,
  run: Runner,
): Promise<Answer> | null {
  switch (operation.$case) {
    case 'open':
      return performOpen(world, operation.value, run);
    case 'close':
      void world.handles.close(operation.value.handle);
      return null;
    case 'read':
    case 'write':
    case 'readDir':
    case 'sync':
      return performOnHandle(world, operation, data, run);
    case 'stat':
    case 'statFs':
    case 'setAttributes':
      return performOnEither(world, operation, run);
    default:
      return run(() => performOnPath(world.target, operation));
  }
}

function errnoAnswer(name: ErrnoName): Answer {
  const head = Buffer.from(FileReply.encode({ errno: ERRNO[name], result: undefined }).finish());
  return { head, data: Buffer.alloc(0), file: null };
}

type Of<K extends FileOperation['$case']> = Extract<FileOperation, { $case: K }>;

async function performOpen(world: FileWorld, open: Of<'open'>['value'], run: Runner): Promise<Answer> {
  const handle = world.handles.reserve();
  if (handle === null) return errnoAnswer('EMFILE');
  let file: OpenFile | null = null;
  try {
    const inlineBytes = Math.min(open.inlineBytes, MAX_DATA_BYTES);
    const { path, flags, mode, keepOpen } = open;
    const answer = await run(() =>
      native.open(world.target, path, flags, mode, inlineBytes, handle, keepOpen ?? false),
    );
    file = answer.file;
    return answer;
  } finally {
    world.handles.fill(handle, file, (open.flags & O_NONBLOCK) === 0);
  }
}

function performOnHandle(
  { target, handles }: FileWorld,
  operation: Of<'read' | 'write' | 'readDir' | 'sync'>,
  data: Uint8Array,
  run: Runner,
): Promise<Answer> {
  const open = handles.get(operation.value.handle);
  if (open === null) return Promise.resolve(errnoAnswer('EBADF'));
  const { file, patience } = open;
  const { handle } = operation.value;
  // Between two tries nobody's turn is taken: others, and the end of the file, need not wait.
  const waiting = (isAlone: boolean, act: () => Promise<Answer>) =>
    whenReady({
      patience,
      act: () => inTurn(open, isAlone, run, act),
      stat: () => inTurn(open, false, run, () => native.statFile(target, file)),
      isWanted: () => handles.get(handle) === open,
    });
  switch (operation.$case) {
    case 'read': {
      const { offset, length } = operation.value;
      if (length > MAX_DATA_BYTES) return Promise.resolve(errnoAnswer('EINVAL'));
      return waiting(false, () => native.read(target, file, offset, length));
    }
    case 'write':
      return waiting(true, () => native.write(target, file, operation.value.offset, data as Buffer));
    case 'readDir': {
      const { cookie, entries } = operation.value;
      return inTurn(open, true, run, () => native.readDir(target, file, cookie, Math.min(entries, MAX_ENTRIES)));
    }
    case 'sync':
      return inTurn(open, true, run, () => native.sync(target, file, operation.value.dataOnly));
  }
}

function performOnEither(
  { target, handles }: FileWorld,
  operation: Of<'stat' | 'statFs' | 'setAttributes'>,
  run: Runner,
): Promise<Answer> {
  const of = operation.value.of;
  if (of === undefined) return Promise.resolve(errnoAnswer('EINVAL'));
  const open = of.$case === 'handle' ? handles.get(of.value) : null;
  if (of.$case === 'path') {
    const path = of.value;
    if (operation.$case === 'stat') return run(() => native.statPath(target, path, operation.value.noFollow));
    if (operation.$case === 'statFs') return run(() => native.statFsPath(target, path));
    const { noFollow } = operation.value;
    return run(() => native.setAttributesPath(target, path, noFollow, ...attributesOf(operation.value)));
  }
  if (open === null) return Promise.resolve(errnoAnswer('EBADF'));
  const { file } = open;
  if (operation.$case === 'stat') return inTurn(open, false, run, () => native.statFile(target, file));
  if (operation.$case === 'statFs') return inTurn(open, false, run, () => native.statFsFile(target, file));
  return inTurn(open, true, run, () => native.setAttributesFile(target, file, ...attributesOf(operation.value)));
}

type PathOperation = Exclude<
  FileOperation,
  Of<'open' | 'close' | 'read' | 'write' | 'readDir' | 'sync' | 'stat' | 'statFs' | 'setAttributes'>
>;

function performOnPath(target: Target, { $case, value }: PathOperation): Promise<Answer> {
  switch ($case) {
    case 'readLink':
      return native.readLink(target, value.path);
    case 'access':
      return native.access(target, value.path, value.mode, value.flags);
    case 'makeDir':
      return native.makeDir(target, value.path, value.mode);
    case 'removeDir':
      return native.removeDir(target, value.path);
    case 'unlink':
      return native.unlink(target, value.path);
    case 'rename':
      return native.rename(target, value.from, value.to, value.flags);
    case 'symlink':
      return native.symlink(target, value.target, value.path);
    case 'link':
      return native.link(target, value.from, value.to, value.flags);
  }
}

async function inTurn(open: OpenHandle, isAlone: boolean, run: Runner, call: () => Promise<Answer>): Promise<Answer> {
  await open.turns.enter(isAlone);
  try {
    return await run(call);
  } finally {
    open.turns.leave();
  }
}

type AttributeArguments = [
  mode: number | null,
  uid: number | null,
  gid: number | null,
  size: bigint | null,
  accessed: TimeChange,
  modified: TimeChange,
];

function attributesOf({ mode, uid, gid, size, accessed, modified }: SetAttributes): AttributeArguments {
  return [mode ?? null, uid ?? null, gid ?? null, size ?? null, timeOf(accessed), timeOf(modified)];
}

function timeOf(time: Time | undefined): TimeChange {
  if (time?.when === undefined) return null;
  return time.when.$case === 'now' ? 'now' : time.when.value;
}
