// `mirrord ls` of a whole cluster against `kubectl get pods`: until the first line, until the end, and the memory of each.
// KUBECONFIG names the cluster, which should have a crowd in it.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { median, printTable } from './table.ts';

const rounds = Number(process.argv[2] ?? 5);
const mirrord = join(import.meta.dirname, '../bin/mirrord');

interface Figures {
  readonly firstMs: number;
  readonly allMs: number;
  readonly lines: number;
  readonly peakMiB: number;
}

function measure(command: readonly string[]): Promise<Figures> {
  const [file = '', ...rest] = command;
  const started = performance.now();
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  let [firstMs, lines, peakKiB] = [0, 0, 0];
  const look = () => {
    peakKiB = Math.max(peakKiB, peakOf(child.pid));
  };
  const timer = setInterval(look, 20);
  return new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      firstMs ||= performance.now() - started;
      for (const byte of chunk) if (byte === 10) lines += 1;
      look();
    });
    child.once('error', reject);
    child.once('close', (code) => {
      clearInterval(timer);
      if (code !== 0) reject(new Error(`${command.join(' ')} ended with ${code}`));
      else resolve({ firstMs, allMs: performance.now() - started, lines, peakMiB: peakKiB / 1024 });
    });
  });
}

/** VmHWM of proc(5); 0 for a process that has just ended. */
function peakOf(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

const variants = {
  'node -e 0': ['node', '-e', 'console.log(0)'],
  'kubectl get pods -A': ['kubectl', 'get', 'pods', '-A', '--no-headers'],
  'mirrord ls -A': [mirrord, 'ls', '-A'],
  'kubectl get pods -n crowd-1': ['kubectl', 'get', 'pods', '-n', 'crowd-1', '--no-headers'],
  'mirrord ls -n crowd-1': [mirrord, 'ls', '-n', 'crowd-1'],
  'mirrord ls -n crowd-1 -t pod': [mirrord, 'ls', '-n', 'crowd-1', '-t', 'pod'],
};
const seen = new Map<string, Figures[]>();
for (let round = 0; round <= rounds; round += 1) {
  for (const [name, command] of Object.entries(variants)) {
    const figures = await measure(command);
    // The first of each does not count.
    if (round > 0) seen.set(name, [...(seen.get(name) ?? []), figures]);
  }
}
printTable(
  `lists; medians of ${rounds} interleaved runs; wanted: first line within 300 ms, memory under 120 MiB`,
  ['command', 'first ms', 'all ms', 'lines', 'peak MiB'],
  [...seen].map(([name, figures]) => [
    name,
    median(figures.map(({ firstMs }) => firstMs)),
    median(figures.map(({ allMs }) => allMs)),
    figures[0]?.lines ?? 0,
    median(figures.map(({ peakMiB }) => peakMiB)),
  ]),
);
