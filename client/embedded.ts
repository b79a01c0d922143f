// The backend as a child of ours: the same agent that runs in a cluster, for targets of this machine. It leads a session
// of its own, so that Ctrl-C is not for it, and ends when our end of its stdin closes, however we end.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { AppError, type AppErrorCode, ERRORS } from '#proto/errors.ts';
import { agentLogLevel } from './agent-pod/log-level.ts';
import { settingsTaken } from './agent-variables.ts';
import { shortage, withoutRoom } from './local-shortage.ts';
import type { Log } from './log.ts';
import { makeRuntimeFolder, removeRuntimeFolder } from './runtime-folder.ts';

export interface EmbeddedOptions {
  /** dist/agent.js. */
  agentFile: string;
  /** Of the configuration: where its endpoint for Prometheus listens, and how much it writes into its log. */
  agent: Readonly<{ metrics: string | null; log_level: string }>;
  key: Uint8Array;
  env: NodeJS.ProcessEnv;
  log: Log;
  signal: AbortSignal;
}

export interface EmbeddedAgent {
  readonly address: string;
  /** Removed after the agent's end, by us or by the shell around it. */
  readonly folder: string;
  close(): Promise<void>;
  readLog(): Promise<string>;
}

/** nats-server, agent and fs-env on a busy machine; 0.3 s on an idle one. */
const READY_DEADLINE_MS = 10_000;
/** Draining is bounded by the agent itself; beyond this it hangs. */
const END_DEADLINE_MS = 5_000;
/** The end of a log; what failed stands there. */
const LOG_TAIL_BYTES = 64 * 1024;
/**
 * Around the agent. Writes no core files, which would hold the target's variables; removes the folder when the client, which
 * would do it, is not there any more, or dead and not yet waited for; and takes with it what a killed agent had just
 * started. $1 folder, $2 client, $3... agent.
 */
const KEEPER = [
  'ulimit -c 0; folder=$1 client=$2; shift 2; "$@"; code=$?',
  'lives() { read -r stat <"/proc/$client/stat" && case $stat in *") Z "*) return 1 ;; esac; }',
  'lives 2>/dev/null || rm -rf -- "$folder"',
  '[ $code -le 128 ] || kill -KILL 0',
  'exit $code',
].join('\n');

/** Rejects with SERVICE_UNAVAILABLE and the agent's own words, DEADLINE_EXCEEDED or CANCELLED; nothing is left then. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedAgent> {
  const folder = makeRuntimeFolder(options.env);
  const logFile = join(folder, 'agent.log');
  const readLog = () => readTail(logFile);
  let child: ChildProcess | null = null;
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= putAway(child, folder);
    return closing;
  };
  try {
    const keyFile = join(folder, 'key');
    await writeFile(keyFile, `${Buffer.from(options.key).toString('hex')}\n`, { mode: 0o600 }).catch((cause) => {
      throw shortage(`the agent's key cannot be written in ${folder}`, cause, { inFolder: true });
    });
    child = await spawnAgent(options, folder, keyFile, logFile);
    const address = await becomeReady(child, options.signal);
    child.unref();
    options.log.info('agent started', { pid: child.pid ?? 0 });
    return { address, folder, close, readLog };
  } catch (error) {
    options.log.attach('agent', await readLog());
    const isUnsaid = error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE';
    const full = isUnsaid ? withoutRoom(folder, error) : null;
    await close();
    throw full ?? error;
  }
}

async function spawnAgent(
  { agentFile, agent: { metrics, log_level }, env }: EmbeddedOptions,
  folder: string,
  keyFile: string,
  logFile: string,
): Promise<ChildProcess> {
  const logLevel = agentLogLevel(log_level);
  const log = await open(logFile, 'a', 0o600);
  try {
    const keeper = ['-c', KEEPER, 'mirrord-agent', folder, String(process.pid)];
    const child = spawn('/bin/sh', [...keeper, process.execPath, agentFile], {
      detached: true,
      cwd: folder,
      stdio: ['pipe', 'pipe', log.fd],
      env: {
        // Debian keeps nats-server and setpriv's like where a user's PATH may not look.
        PATH: `${env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
        MIRRORD_RUNTIME_DIR: folder,
        MIRRORD_GATEWAY_LISTEN: `unix:${join(folder, 'gateway.sock')}`,
        MIRRORD_SESSION_KEY_FILE: keyFile,
        MIRRORD_WITH_SERVICES: 'fs-env',
        MIRRORD_SERVICES_WHEN_WANTED: 'sniffer,stealer',
        MIRRORD_EXIT_WITH_PARENT: '1',
        ...(metrics === null ? {} : { MIRRORD_METRICS_LISTEN: metrics }),
        MIRRORD_LOG_LEVEL: logLevel,
        ...settingsTaken(env),
      },
    });
    // Node says why in the next turn, and has made none of its pipes.
    if (child.pid === undefined) {
      throw shortage('the agent could not be started', (await once(child, 'error'))[0], { inFolder: false });
    }
    return child;
  } finally {
    await log.close();
  }
}

/** The agent's first line on stdout says in JSON where it listens. */
function becomeReady(child: ChildProcess, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (code: 'DEADLINE_EXCEEDED' | 'SERVICE_UNAVAILABLE' | 'CANCELLED', message: string) =>
      reject(new AppError(code, message));
    const timer = setTimeout(
      () => fail('DEADLINE_EXCEEDED', `the agent did not become ready within ${READY_DEADLINE_MS} ms`),
      READY_DEADLINE_MS,
    );
    signal.addEventListener('abort', () => fail('CANCELLED', 'interrupted while the agent started'), { once: true });
    child.once('error', (error) => fail('SERVICE_UNAVAILABLE', `the agent could not be started: ${error.message}`));
    child.once('exit', (code, killedBy) => {
      clearTimeout(timer);
      fail('SERVICE_UNAVAILABLE', `the agent ended before it was ready (${killedBy ?? `exit code ${code}`})`);
    });
    // A write into the pipe of an agent that is gone says nothing that its exit does not.
    child.stdin?.on('error', () => {});
    const lines = createInterface({ input: child.stdout as NonNullable<ChildProcess['stdout']> });
    lines.once('line', (line) => {
      clearTimeout(timer);
      const ready = decodeReadyLine(line);
      if (typeof ready === 'string') resolve(ready);
      else reject(ready);
    });
  });
}

/** The address, or why there is none. */
function decodeReadyLine(line: string): string | AppError {
  let said: Record<string, unknown> = {};
  try {
    said = Object(JSON.parse(line));
  } catch {
    // Falls through to the error for a line of another shape.
  }
  if (typeof said['gateway'] === 'string') return said['gateway'];
  const { code, message } = said;
  if (typeof message !== 'string') return new AppError('BUG', 'the agent’s first line is not the one it promises');
  const known = typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as AppErrorCode) : 'BUG';
  return new AppError(known, `the agent could not start: ${message}`);
}

async function putAway(child: ChildProcess | null, folder: string): Promise<void> {
  try {
    await end(child);
  } finally {
    removeRuntimeFolder(folder);
  }
}

/** Asked by closing its stdin; after the deadline its whole process group is killed. */
async function end(child: ChildProcess | null): Promise<void> {
  // Also where the shell around the agent is gone: it is the agent that reads.
  child?.stdin?.end();
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.ref();
  const group = -child.pid;
  const timer = setTimeout(() => killGroup(group), END_DEADLINE_MS);
  await exited;
  clearTimeout(timer);
}

function killGroup(group: number): void {
  try {
    process.kill(group, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

async function readTail(file: string): Promise<string> {
  try {
    const text = await readFile(file, 'utf8');
    return text.slice(-LOG_TAIL_BYTES);
  } catch {
    return '';
  }
}
