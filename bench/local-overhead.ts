// What mirrord costs a program that touches nothing remote, with the bypass and without: then every open and stat of it is
// trapped, decided local by the supervisor and continued. The start of mirrord is not in it: each command repeats its work inside one run.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { run } from '../test/fixtures/run.ts';
import { SYSTEM_PATH, Whole } from '../test/fixtures/whole.ts';
import { median, printTable, ratios } from './table.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const workloads = [
  {
    name: 'python3, 10 imports',
    limit: 1.3,
    command: 'python3 -c "import json,http.client,asyncio,email,xml.dom,sqlite3,ssl,decimal,logging,unittest"',
  },
  { name: 'npm --version', limit: 1.1, command: 'npm --version' },
  { name: 'gcc -c', limit: 1.3, command: 'gcc -c -o hello.o hello.c' },
  { name: 'find, 3,000 files', limit: 3.5, command: 'find tree -type f -size +1k' },
];
/** Runs of the workload inside one run of the shell; each one's time goes to a file. */
const REPEATS = 5;

const whole = await Whole.start({ variables: { SHOP_MODE: 'bench' } });
try {
  const work = whole.makeWork('root');
  const variables = { PATH: SYSTEM_PATH, HOME: work, LC_ALL: 'C' };
  const prepare = [
    'printf "#include <stdio.h>\\n#include <stdlib.h>\\n#include <string.h>\\nint main(void){return puts(\\"hi\\")<0;}\\n" >hello.c',
    'for a in 0 1 2 3 4 5 6 7 8 9; do for b in 0 1 2 3 4 5 6 7 8 9; do mkdir -p tree/$a/$b; for c in $(seq 30); do echo x >tree/$a/$b/$c; done; done; done',
  ].join('; ');
  await run(['sh', '-c', prepare], { variables, folder: work });
  const rows: (string | number)[][] = [];
  for (const { name, limit, command } of workloads) {
    const script = `TIMEFORMAT=%R; { for i in $(seq ${REPEATS + 1}); do time ${command} >/dev/null 2>&1; done; } 2>times`;
    const times = async (how: 'native' | 'bypass' | 'trapped') => {
      const shell = ['bash', '-c', script];
      const setting = { MIRRORD_LAYER_BYPASS: how === 'bypass' ? 'on' : 'off' };
      const outcome =
        how === 'native'
          ? await run(shell, { variables, folder: work })
          : await whole.exec(shell, { work, variables: setting });
      if (outcome.code !== 0) throw new Error(`${name}: ${outcome.stderr}`);
      // The first warms the page cache.
      return readFileSync(path.join(work, 'times'), 'utf8')
        .trim()
        .split('\n')
        .slice(1)
        .map((s) => Number(s) * 1000);
    };
    const native: number[] = [];
    const bypass: number[] = [];
    const trapped: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      native.push(...(await times('native')));
      bypass.push(...(await times('bypass')));
      trapped.push(...(await times('trapped')));
    }
    const without = Number((median(trapped) / median(native)).toFixed(2));
    rows.push([name, median(native), median(bypass), ...ratios(bypass, native), `<= ${limit}`, without]);
  }
  printTable(
    `programs that touch nothing remote, medians of ${ROUNDS * REPEATS} runs in turns`,
    ['program', 'native ms', 'mirrord ms', 'ratio', 'least', 'most', 'wanted', 'without bypass'],
    rows,
  );
} finally {
  await whole.close();
}
