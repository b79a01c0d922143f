// A local process that closes a mirrored connection of HTTP/1 which goes on at the target, and one that only says nothing more.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EndReason, LocalEnd } from '#proto/gen/v1/incoming.ts';
import { INCOMING_CONNECTION_BYTES } from '#proto/incoming.ts';
import { at, LocalServer, ScriptedArrivals, type Served } from '../testing/scripted-arrivals.ts';
import { LINGER_MS } from './copy.ts';

let script: ScriptedArrivals;
let server: LocalServer;

beforeEach(async () => {
  script = await ScriptedArrivals.open();
  server = await LocalServer.open();
  await script.listen(1n, at('0.0.0.0', 80), server.address);
});
afterEach(() => {
  vi.useRealTimers();
  script.incoming.close();
  server.close();
});

const served = async (index = 0): Promise<Served> => {
  await script.until(() => server.connections.length > index);
  return server.connections[index] as Served;
};

describe('a local process that', () => {
  const request = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
  /** The end has come here: loopback has no delay, and reads what is there in each turn. */
  const turns = async () => {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  const heardOne = async () => {
    script.arrive(2, request('/one'));
    const one = await served();
    await script.until(() => one.text === request('/one'));
    return one;
  };

  test('closes one while it is idle gets the next request on another, and nothing is lost', async () => {
    (await heardOne()).socket.destroy();
    await turns();
    script.data(2, 'GET /two HTTP/1.1\r\n');
    script.data(2, 'Host: a\r\n\r\n');
    const two = await served(1);
    await script.until(() => two.text === request('/two'));
    expect(script.arrivals.map(({ peer }) => peer)).toEqual([at('10.9.9.9', 4_000), at('10.9.9.9', 4_000)]);
    two.socket.write('HTTP/1.1 200 OK\r\n\r\n');
    script.end(2);
    await script.until(() => two.hasEnded);
    two.socket.end();
    await script.until(() => script.incoming.connections === 0);
    expect(script.resets).toEqual([]);
    expect(script.incoming.tally.lines()).toEqual(['port 80: 1 connection, 60 bytes mirrored']);
  });

  test('closes one amid something else has what it did not get counted', async () => {
    (await heardOne()).socket.destroy();
    await turns();
    script.data(2, 'the rest of an upload');
    await script.until(() => script.resets.length === 1);
    expect(script.incoming.tally.lines()).toEqual([
      'port 80: 1 connection, 30 bytes mirrored',
      'port 80: lost 21 bytes of 1 connection: the local process closed first',
    ]);
  });

  test('says nothing more, but reads, gets the rest', async () => {
    const one = await heardOne();
    one.socket.end();
    await turns();
    for (const path of ['/two', '/three', '/four']) script.data(2, request(path));
    script.end(2);
    await script.until(() => one.hasEnded && script.incoming.connections === 0);
    expect(one.text).toBe(['/one', '/two', '/three', '/four'].map(request).join(''));
    expect(server.connections).toHaveLength(1);
  });

  test('is slower than the target does not see the end before it has answered', async () => {
    const one = await heardOne();
    script.halfClose(2);
    script.end(2);
    await turns();
    expect(one.hasEnded).toBe(false);
    one.socket.write('HTTP/1.1 200 OK\r\n');
    const answeredMs = performance.now();
    await script.until(() => one.hasEnded);
    expect(performance.now() - answeredMs).toBeGreaterThan(50);
    one.socket.end();
    await script.until(() => script.incoming.connections === 0);
  });

  test('has not answered what the target has not either sees the end when it comes, or the reset', async () => {
    const one = await heardOne();
    script.halfClose(2, true);
    await script.until(() => one.hasEnded);
    script.end(2);
    one.socket.end();
    await script.until(() => script.incoming.connections === 0);
    script.arrive(4, request('/two'));
    const two = await served(1);
    await script.until(() => two.text === request('/two'));
    script.end(4, EndReason.END_REASON_PEER_RESET, true);
    await script.until(() => two.error === 'ECONNRESET' && script.incoming.connections === 0);
  });

  test('never answers is waited for once, and from then on sees each end when it comes', async () => {
    const one = await heardOne();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    script.halfClose(2);
    script.end(2);
    await turns();
    expect(one.hasEnded).toBe(false);
    vi.advanceTimersByTime(LINGER_MS);
    vi.useRealTimers();
    await script.until(() => one.hasEnded);
    script.arrive(4, request('/two'));
    const two = await served(1);
    await script.until(() => two.text === request('/two'));
    script.halfClose(4);
    await script.until(() => two.hasEnded);
    // Until it says something.
    two.socket.write('HTTP/1.1 200 OK\r\n\r\n');
    script.end(4);
    two.socket.end();
    one.socket.end();
    await script.until(() => script.incoming.connections === 0);
    script.arrive(6, request('/three'));
    const three = await served(2);
    await script.until(() => three.text === request('/three'));
    script.end(6);
    await turns();
    expect(three.hasEnded).toBe(false);
  });

  test('never answers lets all ends come together with the first that was waited for', async () => {
    await heardOne();
    script.arrive(4, request('/two'));
    const two = await served(1);
    await script.until(() => two.text === request('/two'));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    script.halfClose(2);
    await turns();
    vi.advanceTimersByTime(LINGER_MS - 1);
    script.halfClose(4);
    await turns();
    expect(two.hasEnded).toBe(false);
    vi.advanceTimersByTime(1);
    vi.useRealTimers();
    await script.until(() => server.connections.every(({ hasEnded }) => hasEnded));
  });

  test('is slower than the target is reset when it has answered, where the peer has reset', async () => {
    const one = await heardOne();
    script.end(2, EndReason.END_REASON_PEER_RESET);
    await turns();
    expect(one.error).toBeNull();
    one.socket.write('HTTP/1.1 200 OK\r\n');
    await script.until(() => one.error === 'ECONNRESET' && script.incoming.connections === 0);
  });

  test('closes one and listens no more has what comes counted', async () => {
    (await heardOne()).socket.destroy();
    server.close();
    await turns();
    script.data(2, request('/two'));
    await script.until(() => script.resets.length === 1);
    expect(script.incoming.tally.lines().join('\n')).toContain('lost 30 bytes of 1 connection: the local process did');
  });
});

describe('a local process that answers and closes a stolen connection', () => {
  const REQUEST = 'GET /one HTTP/1.1\r\n\r\n';
  const stolen = async (isForRequests: boolean): Promise<Served> => {
    script.incoming.close();
    script = await ScriptedArrivals.open({ mode: 'steal' });
    await script.listen(1n, at('0.0.0.0', 80), server.address);
    script.arrive(2, REQUEST, undefined, { creditBytes: 65_536, isForRequests });
    const one = await served();
    await script.until(() => one.text === REQUEST);
    one.socket.end('answer');
    await script.until(() => script.localEnds.length === 1);
    return one;
  };

  test('of requests has had what it is told to have had, and nothing more', async () => {
    const one = await stolen(true);
    expect(LocalEnd.decode(script.localEnds[0] as Uint8Array).bytes).toBe(BigInt(REQUEST.length));
    script.data(2, Buffer.alloc(INCOMING_CONNECTION_BYTES - REQUEST.length));
    // It is sent elsewhere: its credit is given back.
    await script.until(() => (script.credit.get(2) ?? 0) > 0);
    script.halfClose(2);
    await script.until(() => one.hasEnded);
    expect(one.text).toBe(REQUEST);
  });

  test('of anything else reads on', async () => {
    const one = await stolen(false);
    expect(script.localEnds[0]).toHaveLength(0);
    script.data(2, 'more');
    script.halfClose(2);
    await script.until(() => one.hasEnded);
    expect(one.text).toBe(`${REQUEST}more`);
  });
});
