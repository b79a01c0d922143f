// One `mirrord exec -- true` on the cluster of KUBECONFIG: when each of its steps was done, and what was asked for it.

import { spawn } from 'node:child_process';
import { join } from 'node:path';

export const mirrord = join(import.meta.dirname, '../bin/mirrord');

/** What the client says of itself (--verbose), in its order, and what has been done by then. */
export const MARKS: readonly [RegExp, string][] = [
  [/"message":"target found"/, 'node starts, target is resolved'],
  [/"step":"created"/, 'job is created'],
  [/"step":"scheduled"/, 'pod is made and bound'],
  [/"step":"reached"/, 'containers start, agent answers'],
  [/"message":"session opened"/, 'session is opened'],
  [/"message":"supervisor ready"/, 'supervisor starts'],
  [/"message":"session ends"/, 'local process'],
  [/"message":"agent removed"/, 'agent is removed'],
];

export interface Start {
  readonly ms: number;
  /** Ends of the steps. */
  readonly marks: readonly number[];
  readonly calls: number;
  readonly bytes: number;
}

/** Runs to its end, or until it has said `until` when that is given. */
export function time(
  command: readonly string[],
  until?: RegExp,
  env: NodeJS.ProcessEnv = {},
): Promise<{ ms: number; lines: [number, string][] }> {
  const [file = '', ...rest] = command;
  const began = performance.now();
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const lines: [number, string][] = [];
  let endMs = 0;
  const take = (chunk: Buffer) => {
    const now = performance.now() - began;
    for (const line of chunk.toString().split('\n')) lines.push([now, line]);
    if (endMs > 0 || until === undefined || !until.test(chunk.toString())) return;
    endMs = now;
    child.kill();
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      const isGood = until === undefined ? code === 0 : endMs > 0;
      if (!isGood) reject(new Error(`${command.join(' ')}: ${lines.map(([, line]) => line).join('\n')}`));
      else resolve({ ms: endMs || performance.now() - began, lines });
    });
  });
}

/** `mirrord exec -- true`, step by step. */
export async function start(target: string, namespace: string, env: NodeJS.ProcessEnv = {}): Promise<Start> {
  const command = [mirrord, 'exec', '--verbose', '-n', namespace, '-t', target, '--', 'true'];
  const { ms, lines } = await time(command, undefined, env);
  const marks = MARKS.map(([words, step]) => {
    const found = lines.find(([, line]) => words.test(line));
    if (found === undefined) throw new Error(`no word of: ${step}`);
    return found[0];
  });
  const last = lines.find(([, line]) => /"message":"agent removed"/.test(line))?.[1] ?? '';
  const traffic = JSON.parse(last.slice(last.indexOf('{'))) as { calls: number; receivedBytes: number };
  return { ms, marks, calls: traffic.calls, bytes: traffic.receivedBytes };
}
