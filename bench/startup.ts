// What mirrord adds to the start of a program, with the agent running already: the client, a session, the environment, the
// supervisor, and the traps of the program's own file calls.

import { run } from '../test/fixtures/run.ts';
import { SYSTEM_PATH, Whole } from '../test/fixtures/whole.ts';
import { median, printTable, ratios, timeTurns } from './table.ts';

const ROUNDS = Number(process.argv[2] ?? 11);
const programs = [['true'], ['node', '-e', '0'], ['python3', '-c', '0']];

const whole = await Whole.start({ variables: { SHOP_MODE: 'bench' } });
try {
  const work = whole.makeWork('root');
  const native = async (command: string[]) => {
    const variables = { PATH: SYSTEM_PATH, HOME: work };
    expectGood(await run(command, { variables, folder: work }), command);
  };
  const rows: (string | number)[][] = [];
  for (const command of programs) {
    const ms = await timeTurns(ROUNDS, {
      native: () => native(command),
      mirrord: async () => expectGood(await whole.exec(command, { work }), command),
    });
    const [alone, mirrord] = [median(ms.native), median(ms.mirrord)];
    rows.push([command.join(' '), alone, mirrord, mirrord - alone, ...ratios(ms.mirrord, ms.native)]);
  }
  printTable(
    `start of a program, medians of ${ROUNDS} interleaved runs; the agent runs already`,
    ['program', 'native ms', 'mirrord ms', 'added ms', 'ratio', 'least', 'most'],
    rows,
  );

  const version = [`${whole.installed}/bin/mirrord`, '--version'];
  const ms = await timeTurns(ROUNDS * 2, {
    node: () => native(['node', '-e', '0']),
    version: () => native(version),
  });
  printTable(
    'the command line itself; at most 1.5',
    ['command', 'ms', 'ratio', 'least', 'most'],
    [
      ['node -e 0', median(ms.node), 1, '', ''],
      ['mirrord --version', median(ms.version), ...ratios(ms.version, ms.node)],
    ],
  );
} finally {
  await whole.close();
}

function expectGood({ code, stderr }: { code: number | null; stderr: string }, command: string[]): void {
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}: ${stderr}`);
}
