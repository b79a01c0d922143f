// What bulk costs without a distance, in processor time: seconds for 1 GiB through one connection, of all processes together,
// ends included. The floor is three hops of sockets with nothing between them but read and write of 256 KiB (`outgoing relay`,
// twice): what mirrord's way costs where nothing but the kernel's copies is paid. Of a long run less a short one, so that no
// start is in it; the ways take turns.

import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { Whole } from '../test/fixtures/whole.ts';
import { Ways } from './outgoing-ways.ts';
import { cpuMsOf } from './processor.ts';
import { median, printTable, ratios } from './table.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const MIB = Number(process.argv[3] ?? 1024);
const DIRECTIONS = (process.argv[4] ?? 'down,up').split(',');
const SHORT_MIB = 256;
const NAMES = ['mirrord', 'floor', 'socat', 'ssh', 'direct'] as const;
type Name = (typeof NAMES)[number];
type Ask = (...words: string[]) => Promise<unknown>;

async function main(): Promise<void> {
  const ways = new Ways();
  const program = path.join(ways.folder, 'outgoing');
  execFileSync('cc', ['-O2', '-pthread', '-o', program, path.join(import.meta.dirname, 'src/outgoing.c')]);
  const whole = await Whole.start({ variables: {}, listen: '127.0.0.1:0' });
  try {
    const port = await ways.serve([program, 'serve', '0']);
    const targetPort = await ways.serve(['nsenter', '-t', String(whole.target.pid), '-n', program, 'serve', '0']);
    const far = await ways.serve([program, 'relay', String(port)]);
    const floor = await ways.serve([program, 'relay', String(far)]);
    const { socat, ssh } = await ways.start(port);
    const here =
      (at: number): Ask =>
      (what = '', mib = '') =>
        ways.ask([program, what, '127.0.0.1', String(at), mib]);
    const asks: Record<Name, Ask> = {
      mirrord: async (what = '', mib = '') => {
        const words = [program, what, '127.0.0.1', String(targetPort), mib];
        const { code, stderr } = await whole.exec(words, { deadlineMs: 300_000 });
        if (code !== 0) throw new Error(`ended with ${code}: ${stderr}`);
      },
      floor: here(floor),
      socat: here(socat),
      ssh: here(ssh),
      direct: here(port),
    };
    for (const what of DIRECTIONS) await compare(what, asks);
  } finally {
    await whole.close();
    await ways.close();
  }
}

async function compare(what: string, asks: Record<Name, Ask>): Promise<void> {
  const seconds: Record<Name, number[]> = { mirrord: [], floor: [], socat: [], ssh: [], direct: [] };
  const cost = async (name: Name, mib: number): Promise<number> => {
    const before = cpuMsOf(process.pid);
    await asks[name](what, String(mib));
    return cpuMsOf(process.pid) - before;
  };
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of NAMES) {
      const short = await cost(name, SHORT_MIB);
      seconds[name].push((((await cost(name, SHORT_MIB + MIB)) - short) / MIB) * 1.024);
    }
  }
  const rows = NAMES.map((name) => [name, median(seconds[name]), ...ratios(seconds.mirrord, seconds[name])]);
  printTable(`${what}, CPU seconds for 1 GiB`, ['way', 'seconds', "mirrord's / its", 'least', 'most'], rows);
}

await main();
