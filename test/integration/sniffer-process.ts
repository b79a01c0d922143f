// The sniffer as a process of its own, from dist/, with a nats-server: what can be killed, and measured.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { startNats } from '../../services/agent/nats-child.ts';
import { snifferKey } from './sniffer-harness.ts';

export interface SnifferProcess {
  readonly pid: number;
  readonly address: string;
  kill(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** `before`: words of a command that starts it, as `taskset -c 1`. */
export async function startSnifferProcess(
  env: Record<string, string> = {},
  before: readonly string[] = [],
): Promise<SnifferProcess> {
  const folder = await mkdtemp(path.join(tmpdir(), 'mirrord-sniffer-'));
  const nats = await startNats(folder, pino({ level: 'silent' }));
  await writeFile(`${folder}/key`, snifferKey.toString('hex'), { mode: 0o600 });
  const bundle = path.join(import.meta.dirname, '../../dist/sniffer.js');
  const [program = '', ...words] = [...before, process.execPath, bundle];
  const child = spawn(program, words, {
    env: {
      ...process.env,
      MIRRORD_RUNTIME_DIR: folder,
      MIRRORD_NATS_URL: nats.urlOf('sniffer'),
      MIRRORD_LOG_LEVEL: 'error',
      MIRRORD_SESSION_KEY_FILE: `${folder}/key`,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const kill = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  const dispose = async () => {
    await kill();
    await nats.close();
    await rm(folder, { recursive: true });
  };
  try {
    const ended = exited.then(([code]) => Promise.reject(new Error(`the sniffer ended with ${code} while starting`)));
    const [line] = (await Promise.race([once(child.stdout, 'data'), ended])) as [Buffer];
    const { address } = JSON.parse(line.toString()) as { address: string };
    return { pid: child.pid as number, address, kill, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}
