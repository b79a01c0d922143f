// Many small files read one after the other over a distance. One round trip each is the best that a program that waits for
// each file can get; the table counts the requests that really crossed the wire. Over a distance the programs run at once,
// each with a session of its own: they wait nearly all of the time, and 1,000 files are two minutes instead of six.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { FrameKind } from '../proto/gen/v1/frame.ts';
import { Whole } from '../test/fixtures/whole.ts';
import { startDelayRelay } from './delay-relay.ts';
import { printTable } from './table.ts';

const FILES = Number(process.argv[2] ?? 1_000);
const FILE_BYTES = 4_000;
const ROUND_TRIPS_MS = [0, 20, 100];
const FOLDER = '/srv/small';

const node = `
  const { readFileSync } = require('node:fs');
  let bytes = 0;
  for (let i = 0; i < ${FILES}; i++) bytes += readFileSync('${FOLDER}/' + i).length;
  console.log(bytes);`;
const python = `
bytes = 0
for i in range(${FILES}):
    with open('${FOLDER}/%d' % i, 'rb') as file:
        bytes += len(file.read())
print(bytes)`;

const whole = await Whole.start({ variables: { SHOP_MODE: 'bench' }, listen: '127.0.0.1:0' });
try {
  const folder = path.join(whole.target.root, FOLDER);
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < FILES; i++) writeFileSync(path.join(folder, String(i)), Buffer.alloc(FILE_BYTES, i));
  const reader = path.join(whole.base, 'read_files');
  execFileSync('cc', ['-O2', '-o', reader, 'bench/src/read_files.c']);
  const programs = {
    C: [reader, FOLDER, String(FILES)],
    Node: ['node', '-e', node],
    Python: ['python3', '-c', python],
  };

  const rows: (string | number)[][] = [];
  for (const roundTripMs of ROUND_TRIPS_MS) {
    const all = Object.entries(programs);
    if (roundTripMs === 0) for (const [name, command] of all) rows.push(await row(name, command, roundTripMs));
    else rows.push(...(await Promise.all(all.map(([name, command]) => row(name, command, roundTripMs)))));
  }
  printTable(
    `${FILES} files of ${FILE_BYTES} bytes, one after the other; baseline: one round trip a file`,
    ['program', 'RTT ms', 'requests', 'a file', 'ms', 'ms a file', 'of baseline'],
    rows,
  );
} finally {
  await whole.close();
}

async function row(name: string, command: string[], roundTripMs: number): Promise<(string | number)[]> {
  const relay = await startDelayRelay(whole.address, roundTripMs);
  // What the start costs is measured by the same program with nothing to read, and taken off.
  const empty = await timed(relay, ['true']);
  const full = await timed(relay, command);
  await relay.close();
  if (full.stdout !== `${FILES * FILE_BYTES}\n`) throw new Error(`${name} read ${full.stdout}`);
  const ms = full.ms - empty.ms;
  const perFile = (full.requests - empty.requests) / FILES;
  const best = roundTripMs * FILES;
  return [name, roundTripMs, full.requests, perFile, ms, ms / FILES, best === 0 ? '-' : ms / best];
}

async function timed(relay: { address: string; takeUplink(): Map<number, number> }, command: string[]) {
  relay.takeUplink();
  const startedAt = performance.now();
  const { code, stdout, stderr } = await whole.exec(command, {
    variables: { MIRRORD_AGENT_ADDRESS: relay.address },
    deadlineMs: 600_000,
  });
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}: ${stderr}`);
  const ms = performance.now() - startedAt;
  return { ms, stdout, requests: relay.takeUplink().get(FrameKind.FRAME_KIND_FILE_REQUEST) ?? 0 };
}
