// Starts a real agent with a real nats-server for a test, opens sessions with it, and proves afterwards that nothing of it
// is left.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { dial } from '#proto/dial.ts';
import type { AppError } from '#proto/errors.ts';
import { type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { FileRequest } from '#proto/gen/v1/fs_env.ts';
import { OpenSession, type TargetRef } from '#proto/gen/v1/session.ts';
import type { SessionStream } from '#proto/session-stream.ts';
import { mintToken, newSessionId } from '#proto/token.ts';
import { childrenOf } from '../fixtures/children.ts';

const room = path.join(import.meta.dirname, '../..');

/** Bundles as scripts/build.mjs makes them, with the fake in the place of fs-env; in a folder that `dispose` removes. */
export async function buildBundles(): Promise<{ directory: string; dispose(): void }> {
  const base = mkdtempSync(path.join(tmpdir(), 'agent-bundles-'));
  const directory = path.join(base, 'dist');
  // Where bundles look for their native parts.
  symlinkSync(path.join(room, 'proto'), path.join(base, 'proto'));
  await build({
    entryPoints: [
      { in: path.join(room, 'services/agent/main.ts'), out: 'agent' },
      { in: path.join(room, 'test/integration/fake-fs-env.ts'), out: 'fs-env' },
      { in: path.join(room, 'services/beside/main.ts'), out: 'beside' },
      { in: path.join(room, 'test/integration/fake-sniffer.ts'), out: 'sniffer' },
      { in: path.join(room, 'test/integration/idle-client.ts'), out: 'idle-client' },
    ],
    outdir: directory,
    absWorkingDir: room,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'esm',
    splitting: true,
    logLevel: 'warning',
    banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
  });
  writeFileSync(path.join(directory, 'package.json'), '{"type":"module"}');
  return { directory, dispose: () => rmSync(base, { recursive: true, force: true }) };
}

export interface Agent {
  readonly gateway: string;
  readonly pid: number;
  readonly key: Buffer;
  readonly runtimeDir: string;
  /** Standard error so far. */
  log(): string;
  /** Process ids of its children by their command. */
  children(): Map<string, number>;
  /** Ends as when its parent goes: standard input closes. Resolves with the exit code. */
  stop(): Promise<number | null>;
  kill(): void;
  readonly ended: Promise<number | null>;
}

/**
 * Resolves at the agent's line on standard output; rejects with that line when it could not start. `under`: what starts it, a
 * program and its arguments.
 */
export async function startAgent(
  bundles: string,
  settings: Record<string, string> = {},
  under: readonly string[] = [],
): Promise<Agent> {
  const runtimeDir = mkdtempSync(path.join(tmpdir(), 'agent-'));
  const key = Buffer.alloc(32, 5);
  writeFileSync(path.join(runtimeDir, 'key'), key.toString('hex'), { mode: 0o600 });
  const [file = '', ...words] = [...under, process.execPath, path.join(bundles, 'agent.js')];
  const child = spawn(file, words, {
    env: {
      PATH: process.env['PATH'],
      MIRRORD_GATEWAY_LISTEN: `unix:${runtimeDir}/gateway.sock`,
      MIRRORD_SESSION_KEY_FILE: path.join(runtimeDir, 'key'),
      MIRRORD_RUNTIME_DIR: runtimeDir,
      MIRRORD_NODE_NAME: 'test-node',
      MIRRORD_WITH_SERVICES: 'fs-env',
      MIRRORD_EXIT_WITH_PARENT: '1',
      MIRRORD_LOG_LEVEL: 'debug',
      ...settings,
    },
  });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (exitCode) => {
      rmSync(runtimeDir, { recursive: true, force: true });
      resolve(exitCode);
    });
  });
  const line = await firstLine(child);
  const ready = JSON.parse(line) as { ready: boolean; gateway: string };
  if (!ready.ready) {
    await ended;
    throw new Error(line);
  }
  return {
    gateway: ready.gateway,
    pid: child.pid as number,
    key,
    runtimeDir,
    log: () => log,
    children: () => childrenOf(child.pid as number),
    stop: () => {
      child.stdin.end();
      return ended;
    },
    kill: () => child.kill('SIGKILL'),
    ended,
  };
}

export function firstLine(child: ChildProcessWithoutNullStreams): Promise<string> {
  return new Promise((resolve, reject) => {
    createInterface(child.stdout).once('line', resolve);
    child.once('close', (exitCode) => reject(new Error(`ended with ${exitCode} before it said anything`)));
  });
}

export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Open sockets of a process: what a session costs and must give back. */
export function socketCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

export interface TestSession {
  readonly sessionId: string;
  readonly stream: SessionStream;
  /** The next frame that is not of the stream itself. */
  next(): Promise<Frame>;
  readonly closed: Promise<AppError | null>;
  request(id: number, op: NonNullable<FileRequest['op']>): void;
  close(): Promise<void>;
}

export interface DialSettings {
  token?: string;
  address?: string;
  target?: TargetRef;
  opening?: Partial<OpenSession>;
}

/** Dials and sends SESSION_OPEN; what the agent answers is the first frame. */
export async function openSession(agent: Agent, settings: DialSettings = {}): Promise<TestSession> {
  const sessionId = newSessionId();
  const frames: Frame[] = [];
  let wake = () => {};
  let settleClosed: (error: AppError | null) => void;
  const closed = new Promise<AppError | null>((resolve) => {
    settleClosed = resolve;
  });
  const opening = OpenSession.encode({
    protocolVersion: 1,
    clientVersion: 'test',
    target: settings.target ?? { target: { $case: 'pid', value: process.pid } },
    wantsEnvironment: true,
    wantsFiles: true,
    wantsNetwork: false,
    wantsIncoming: false,
    ...settings.opening,
  }).finish();
  const stream = await dial({
    address: settings.address ?? agent.gateway,
    service: 'Gateway',
    token: settings.token ?? mintToken(agent.key, sessionId, 60),
    deadlineMs: 10_000,
    opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, opening),
    onFrame: (frame) => {
      frames.push(frame);
      wake();
    },
    onClosed: (error) => settleClosed(error),
  });
  const next = async () => {
    while (frames.length === 0) {
      const ended = closed.then((error) => {
        throw error ?? new Error('closed');
      });
      await Promise.race([
        ended,
        new Promise<void>((resolve) => {
          wake = resolve;
        }),
      ]);
    }
    return frames.shift() as Frame;
  };
  return {
    sessionId,
    stream,
    next,
    closed,
    request: (id, op) =>
      stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REQUEST, FileRequest.encode({ op }).finish(), NO_BYTES)),
    close: async () => {
      stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSE));
      while ((await next()).kind !== FrameKind.FRAME_KIND_SESSION_CLOSED);
      stream.end();
      await closed;
    },
  };
}
