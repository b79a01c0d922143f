// What the client does in its own process: deciding where a path leads, and loading a configuration. CPU microseconds, with a
// baseline each that takes turns with it.
//
// node bench/run.mjs client-costs [ROUNDS]

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { loadConfig } from '../client/config/load.ts';
import { FileRules } from '../client/file-rules.ts';
import { median, printTable, ratios } from './table.ts';

const rounds = Number(process.argv[2] ?? 15);
const DECISIONS = 20_000;
const LOADS = 50;
const PATHS = ['/srv/app/data/some/long/path/file.txt', '/usr/lib/libc.so.6', '/etc/hosts', '/home/u/Project/x.js'];
const READ_ONLY = ['^/app/.*\\.json$', '\\.ya?ml$'];
const READ_WRITE = ['^/data(/.*)?$'];
const CONFIG = { target: 'pid/1', feature: { fs: { mode: 'write', read_only: READ_ONLY, read_write: READ_WRITE } } };

const microsEach = async (count: number, act: (nth: number) => unknown): Promise<number> => {
  const before = process.cpuUsage();
  for (let nth = 0; nth < count; nth++) await act(nth);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / count;
};
const pathOf = (nth: number): string => PATHS[nth % PATHS.length] as string;

const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-bench-'));
try {
  const configFile = path.join(folder, 'mirrord.json');
  writeFileSync(configFile, JSON.stringify(CONFIG));
  const load = () => loadConfig({ flags: {}, env: {}, cwd: folder, configFile });
  const { config } = await load();
  const context = { home: '/home/u', cwd: '/code/app', tmp: '/var/folders/t', executable: '/srv/bin/tool' };
  const rules = FileRules.compile(config.feature.fs, context);
  const patterns = [...READ_ONLY, ...READ_WRITE].map((text) => new RegExp(text));

  const micros: Record<'patterns' | 'decision' | 'parsing' | 'loading', number[]> = {
    patterns: [],
    decision: [],
    parsing: [],
    loading: [],
  };
  for (let round = 0; round <= rounds; round++) {
    const measured = {
      patterns: await microsEach(DECISIONS, (nth) => patterns.some((pattern) => pattern.test(pathOf(nth)))),
      decision: await microsEach(DECISIONS, (nth) => rules.decide(pathOf(nth), false)),
      parsing: await microsEach(LOADS, () => JSON.parse(readFileSync(configFile, 'utf8'))),
      loading: await microsEach(LOADS, load),
    };
    if (round === 0) continue;
    for (const name of Object.keys(micros) as (keyof typeof micros)[]) micros[name].push(measured[name]);
  }
  printTable(
    `work of the client, medians of ${rounds} rounds in turns`,
    ['what', 'CPU us', 'ratio', 'least', 'most'],
    [
      ["the user's three patterns alone", median(micros.patterns), 1, '', ''],
      ['where a path leads', median(micros.decision), ...ratios(micros.decision, micros.patterns)],
      ['reading and parsing a configuration', median(micros.parsing), 1, '', ''],
      ['loading and validating it', median(micros.loading), ...ratios(micros.loading, micros.parsing)],
    ],
  );
} finally {
  rmSync(folder, { recursive: true });
}
