// One large remote file, read by `cat` through mirrord. The baseline is the same bytes asked for on the same kind of
// session, without a local process: reads of 256 KiB, sixteen on their way at a time. What lies between the two is the
// layer: supervisor, FUSE and the client's read-ahead.

import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Session } from '../client/session.ts';
import { dial } from '../proto/dial.ts';
import { mintToken, newSessionId, parseSessionKey } from '../proto/token.ts';
import { Whole } from '../test/fixtures/whole.ts';
import { printTable, takeTurns } from './table.ts';

const MIB = Number(process.argv[2] ?? 1024);
const ROUNDS = Number(process.argv[3] ?? 3);
const SIZE = MIB * 2 ** 20;
const FILE = '/srv/large.bin';
const READ_BYTES = 256 * 1024;
const READS_IN_FLIGHT = 16;

const rows: (string | number)[][] = [];
for (const listen of [undefined, '127.0.0.1:0']) {
  const whole = await Whole.start({ variables: { SHOP_MODE: 'bench' }, ...(listen === undefined ? {} : { listen }) });
  try {
    const file = path.join(whole.target.root, FILE);
    mkdirSync(path.dirname(file), { recursive: true });
    const fd = openSync(file, 'w');
    ftruncateSync(fd, SIZE);
    closeSync(fd);
    const session = await openSession(whole);
    const work = whole.makeWork('root');
    const exec = async (script: string) => {
      const { code, stdout, stderr } = await whole.exec(['sh', '-c', script], { work, deadlineMs: 600_000 });
      if (code !== 0) throw new Error(`${script} ended with ${code}: ${stderr}`);
      return stdout;
    };
    const ms = await takeTurns(ROUNDS, {
      start: async () => void (await exec('true')),
      cat: async () => {
        const bytes = Number(await exec(`cat ${FILE} | wc -c`));
        if (bytes !== SIZE) throw new Error(`cat read ${bytes} bytes`);
      },
      stream: () => copy(session),
    });
    await session.close();
    const hop = listen === undefined ? 'unix socket' : 'TCP';
    const streamRate = (MIB / ms.stream) * 1000;
    const catRate = (MIB / (ms.cat - ms.start)) * 1000;
    rows.push(
      [`plain session, ${hop}`, ms.stream, streamRate, 1],
      [`cat, ${hop}`, ms.cat - ms.start, catRate, catRate / streamRate],
    );
  } finally {
    await whole.close();
  }
}
printTable(
  `${MIB} MiB of the target, medians of ${ROUNDS} runs in turns, without the start; at least 0.8 of the plain session`,
  ['reader', 'ms', 'MiB/s', 'ratio'],
  rows,
);

function openSession(whole: Whole): Promise<Session> {
  const key = parseSessionKey(readFileSync(path.join(whole.base, 'key'), 'utf8'));
  return Session.open({
    dial,
    address: whole.address,
    token: mintToken(key, newSessionId(), 60),
    target: { kind: 'pid', pid: whole.target.pid },
    wantsEnvironment: false,
    wantsFiles: true,
    deadlineMs: 10_000,
    onEvent: () => {},
    onLost: () => {},
  });
}

async function copy(session: Session): Promise<void> {
  const open = { path: Buffer.from(FILE), flags: 0, mode: 0, inlineBytes: 0 };
  const { reply } = await session.request({ $case: 'open', value: open });
  if (reply.result?.$case !== 'opened') throw new Error(`open: errno ${reply.errno}`);
  const { handle } = reply.result.value;
  let offset = 0;
  let received = 0;
  const readOn = async () => {
    while (offset < SIZE) {
      const value = { handle, offset: BigInt(offset), length: READ_BYTES };
      offset += READ_BYTES;
      const { data } = await session.request({ $case: 'read', value });
      received += data.length;
    }
  };
  await Promise.all(Array.from({ length: READS_IN_FLIGHT }, readOn));
  session.tell({ $case: 'close', value: { handle } });
  if (received !== SIZE) throw new Error(`received ${received} bytes`);
}
