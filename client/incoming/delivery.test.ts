import { expect, onTestFinished, test } from 'vitest';
import { at, LocalServer, ScriptedArrivals } from '../testing/scripted-arrivals.ts';
import { FIRST_PORT } from './sources.ts';

test.each(['0.0.0.0', '::'])(
  'what arrives comes from another port where somebody listens on ours at %s',
  async (host) => {
    const server = await LocalServer.open();
    const stranger = await LocalServer.open(host);
    const port = stranger.address.kind === 'internet' ? stranger.address.port : 0;
    const taken = await ScriptedArrivals.open({}, port - FIRST_PORT);
    onTestFinished(() => {
      taken.incoming.close();
      stranger.close();
      server.close();
    });
    await taken.listen(1n, at('0.0.0.0', 80), server.address);
    for (const [nth, id] of [2, 6].entries()) {
      taken.arrive(id, 'hello');
      await taken.until(() => server.connections[nth]?.text === 'hello');
    }
    const ports = taken.arrivals.map(({ source }) => (source.kind === 'internet' ? source.port : 0));
    const [second, first] = ports.reverse();
    expect(ports.at(-1)).toBe(port);
    // The second goes there at once.
    expect([first, second]).toEqual(server.connections.map(({ socket }) => socket.remotePort));
    expect(first).toBe(second);
    expect(second).not.toBe(port);
    expect([taken.over.length, taken.resets, taken.troubles]).toEqual([ports.length - 2, [], []]);
  },
);
