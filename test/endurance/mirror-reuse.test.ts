// One source port again and again, and a server that is another process by and by: each connection is one here as it is there.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { can } from '../can.ts';
import { fixture, linesOf, MirrorStage } from './mirror-stage.ts';

const PORT = 9100;
const COUNT = 60;
const DEADLINE = { timeout: 120_000 };
const SERVER = ['python3', fixture('reuse_heard.py'), `${PORT}`];

let stage: MirrorStage;

describe.skipIf(!can.root.yes)(`what a mirror hears (${can.root.why})`, () => {
  beforeAll(async () => {
    stage = await MirrorStage.open();
  });
  afterEach(() => stage.endRun());
  afterAll(() => stage.close());

  const ask = (host: string, source: number, count: number) =>
    stage.beyond(`python3 ${fixture('reuse_sent.py')} ${host} ${PORT} ${source} ${count}`);
  const wanted = (source: number, count: number) =>
    Array.from({ length: count }, (_, nth) => `heard ${source} connection-${nth} ${nth % 2 ? 'more' : 'last'}`);

  test.each(['10.99.0.1', 'fd99::1'])(
    'connections of one source port to %s follow each other',
    DEADLINE,
    async (host) => {
      const server = await stage.network.serve(stage.network.target, SERVER);
      const run = await stage.exec(SERVER, [PORT]);
      await ask(host, 30_001, COUNT);
      expect((await stage.hears(run, 'heard', COUNT)).sort()).toEqual(wanted(30_001, COUNT).sort());
      await stage.stopWhole(run);
      await server.stop();
    },
  );

  test('a server that is started anew under the capture is heard on', DEADLINE, async () => {
    let server = await stage.network.serve(stage.network.target, SERVER);
    const run = await stage.exec(SERVER, [PORT]);
    for (let round = 0; round < 5; round++) {
      await ask('10.99.0.1', 31_000 + round, 4);
      await server.stop();
      // Nobody listens: refused, and nothing to be heard.
      await expect(ask('10.99.0.1', 32_000 + round, 1)).rejects.toThrow('ConnectionRefusedError');
      server = await stage.network.serve(stage.network.target, SERVER);
    }
    const all = Array.from({ length: 5 }, (_, round) => wanted(31_000 + round, 4)).flat();
    expect((await stage.hears(run, 'heard', all.length)).sort()).toEqual(all.sort());
    expect(linesOf(run, 'heard 32')).toEqual([]);
    await stage.stopWhole(run);
    await server.stop();
  });
});
