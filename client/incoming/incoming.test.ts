import dgram from 'node:dgram';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Counters, EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import { Transport } from '#proto/gen/v1/network.ts';
import { INCOMING_CONNECTION_BYTES } from '#proto/incoming.ts';
import { WIRE_LOCAL, WireKind, WireTransport } from '#proto/wire.ts';
import { at, LocalServer, ScriptedArrivals, type Served } from '../testing/scripted-arrivals.ts';
import { bytesText } from './tally.ts';

const ANY_80 = at('0.0.0.0', 80);
let script: ScriptedArrivals;
let server: LocalServer;

beforeEach(async () => {
  script = await ScriptedArrivals.open();
  server = await LocalServer.open();
});
afterEach(() => {
  script.incoming.close();
  server.close();
});

const served = async (index = 0): Promise<Served> => {
  await script.until(() => server.connections.length > index);
  return server.connections[index] as Served;
};

const granted = (id: number) => INCOMING_CONNECTION_BYTES + (script.credit.get(id) ?? 0);

/** As much as credit allows, to a local process that reads nothing. */
async function fill(id: number, to: Served): Promise<number> {
  to.socket.pause();
  const piece = Buffer.alloc(INCOMING_CONNECTION_BYTES / 4, 'x');
  let sent = 0;
  for (let quiet = 0; quiet < 200; quiet++) {
    if (sent + piece.length > granted(id)) {
      await new Promise((resolve) => setImmediate(resolve));
      continue;
    }
    quiet = 0;
    script.data(id, piece);
    sent += piece.length;
  }
  return sent;
}

describe('a socket that listens', () => {
  test('subscribes to its port, and listens when the agent has said yes', async () => {
    script.olderConnections = 3;
    expect(await script.listen(1n, ANY_80, server.address)).toBe(0);
    expect([...script.subscribed.values()]).toMatchObject([{ mode: 1, transport: 1, port: 80, filter: undefined }]);
    const peers = '10.9.9.9:5000, 10.9.9.9:5001, 10.9.9.9:5002';
    expect(script.news).toContain(`mirroring port 80 (waiting for 3 older connections to come again: ${peers})`);
    expect(script.renewals).toBe(0);
  });

  test('asks for older connections to come again where the user wants it, once, and says whose were closed', async () => {
    const renewing = await ScriptedArrivals.open({ renew_connections: true });
    renewing.olderConnections = 30;
    await renewing.listen(1n, ANY_80, server.address);
    await renewing.until(() => renewing.renewals === 1);
    renewing.renewed(29, 1);
    const news = () => renewing.news.filter((line) => line.includes('older'));
    await renewing.until(() => news().length === 3);
    expect(news()[0]).toMatch(/^mirroring port 80 \(waiting for 30 older connections .*:5007 and 22 more\)$/);
    expect(news().slice(1)).toEqual([
      'port 80: closed 29 older connections, for their peers to come again',
      'port 80: 1 older connection could not be closed: why not',
    ]);
    renewing.confirm([...renewing.subscribed.keys()][0] as number);
    renewing.arrive(2, 'x');
    await renewing.until(() => renewing.arrivals.length === 1);
    expect(renewing.renewals).toBe(1);
    renewing.incoming.close();
  });

  test('shares the subscription with others of its port, and gives it back with the last', async () => {
    await script.listen(1n, ANY_80, server.address);
    expect(await script.listen(2n, at('127.0.0.1', 80), server.address)).toBe(0);
    expect(script.subscribed.size).toBe(1);
    script.closeListener(1n);
    script.closeListener(2n);
    await script.until(() => script.unsubscribed.length === 1);
    expect(await script.listen(3n, ANY_80, server.address)).toBe(0);
    expect(script.subscribed.size).toBe(2);
  });

  test('stands for the port of the next target too, and what came from the former is over', async () => {
    await script.listen(1n, ANY_80, server.address);
    script.arrive(2, 'hello');
    const one = await served();
    await script.until(() => one.text === 'hello');
    script.incoming.moved();
    await script.until(() => script.incoming.connections === 0 && script.subscribed.size === 2);
    expect([...script.subscribed.values()].map(({ port }) => port)).toEqual([80, 80]);
    expect(script.resets).toEqual([]);
  });

  test('listens here alone when the agent says no, and the user is told why', async () => {
    script.answer = () => new AppError('NOT_PERMITTED', 'the sniffer may not');
    expect(await script.listen(1n, ANY_80, server.address)).toBe(WIRE_LOCAL);
    expect(script.troubles).toEqual(['port 80 is not mirrored: the sniffer may not']);
  });

  test('is this machine’s own when the session is lost', async () => {
    script.agent.vanish();
    await script.until(() => script.session.lost !== null);
    expect(await script.listen(1n, ANY_80, server.address)).toBe(WIRE_LOCAL);
  });
});

describe('a connection that arrives', () => {
  beforeEach(() => script.listen(1n, ANY_80, server.address));

  test('is made here once more, from an address that the layer knows, with the bytes it came with', async () => {
    script.arrive(2, 'hello ');
    script.data(2, 'world');
    const { socket } = await served();
    await script.until(() => server.connections[0]?.text === 'hello world');
    const [{ source, peer, local }] = script.arrivals as [(typeof script.arrivals)[0]];
    expect([peer, local]).toEqual([at('10.9.9.9', 4_000), at('10.1.2.4', 80)]);
    expect(source).toEqual(at(String(socket.remoteAddress), Number(socket.remotePort)));
    expect(socket.remoteAddress).toMatch(/^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./);
  });

  test('of each family goes to the socket that hears it, when a server has one for each', async () => {
    const six = await LocalServer.open('::1');
    await script.listen(2n, at('::', 80), six.address, true);
    script.arrive(2, 'of four');
    script.arrive(4, 'of six', at('fd00::9', 4_000), undefined, at('fd00::4', 80));
    await script.until(() => server.connections[0]?.text === 'of four' && six.connections[0]?.text === 'of six');
    six.close();
  });

  test('ends as the original did: half, then whole', async () => {
    script.arrive(2, 'hello');
    script.halfClose(2);
    const one = await served();
    await script.until(() => one.hasEnded);
    expect(one.text).toBe('hello');
    one.socket.end('an answer that nobody wants');
    script.end(2);
    await script.until(() => script.over.length === 1 && script.incoming.connections === 0);
    expect(script.resets).toEqual([]);
  });

  test('is reset where the original was reset, behind its last byte, also of a local process that is slow', async () => {
    script.arrive(2, 'hello');
    const one = await served();
    await script.until(() => one.text === 'hello');
    script.end(2, EndReason.END_REASON_PEER_RESET);
    await script.until(() => one.error === 'ECONNRESET' && script.incoming.connections === 0);
    script.arrive(6);
    const slow = await served(1);
    const sent = await fill(6, slow);
    script.end(6, EndReason.END_REASON_PEER_RESET);
    slow.socket.resume();
    await script.until(() => slow.socket.closed && script.incoming.connections === 0);
    expect(slow.text.length).toBe(sent);
    expect(script.resets).toEqual([]);
    expect(script.incoming.tally.lines()).toEqual([`port 80: 2 connections, ${bytesText(sent + 5)} mirrored`]);
  });

  test('is cut where bytes are missing, never joined', async () => {
    script.arrive(2, 'before');
    const one = await served();
    await script.until(() => one.text === 'before');
    script.gap(2, 100);
    script.data(2, 'behind');
    await script.until(() => one.error === 'ECONNRESET' && script.resets.length === 1);
    expect(one.text).toBe('before');
    expect(script.incoming.tally.lines().join('\n')).toContain('1 connection: ended here because something in between');
  });

  test('whose local process is slow gets no more credit than that takes', async () => {
    script.arrive(2);
    const one = await served();
    const sent = await fill(2, one);
    expect(sent).toBeGreaterThanOrEqual(INCOMING_CONNECTION_BYTES);
    one.socket.resume();
    await script.until(() => one.text.length === sent && granted(2) > sent);
  });

  test('is refused to the service when nobody accepts it here, and counted', async () => {
    server.close();
    script.arrive(2, 'hello');
    script.arrive(6);
    await script.until(() => script.resets.length === 2);
    expect(script.resetErrnos).toEqual([ERRNO.ECONNREFUSED, ERRNO.ECONNREFUSED]);
    expect(script.incoming.tally.lines()).toEqual([
      'port 80: 2 connections, 0 bytes mirrored',
      'port 80: lost 5 bytes of 2 connections: the local process did not accept',
    ]);
    expect(script.troubles).toEqual([
      expect.stringMatching(
        /^port 80: what arrives does not reach the local process at 127\.0\.0\.1:\d+ \(ECONNREFUSED\); how much is told at the end$/,
      ),
    ]);
  });

  test('that the local process closes early is given up, and counted', async () => {
    script.arrive(2, 'hello');
    const one = await served();
    one.socket.resetAndDestroy();
    await script.until(() => script.resets.length === 1);
    expect(script.incoming.tally.lines().join('\n')).toContain('1 connection: the local process closed first');
  });

  test('goes on when its listener is closed, to whoever accepted it', async () => {
    script.arrive(2, 'one ');
    const one = await served();
    script.closeListener(1n);
    script.data(2, 'two');
    await script.until(() => one.text === 'one two');
  });

  test('ends when the sniffer is lost, and when the session is', async () => {
    script.arrive(2, 'a');
    script.arrive(6, 'b');
    const [first, second] = [await served(0), await served(1)];
    script.end(2, EndReason.END_REASON_SERVICE_LOST);
    await script.until(() => script.incoming.tally.lines().join('\n').includes('the sniffer was lost'));
    script.agent.vanish();
    await script.until(() => script.session.lost !== null);
    script.incoming.close();
    await script.until(() => [first, second].every(({ error, hasEnded }) => error !== null || hasEnded));
  });

  test('breaks the protocol when nobody subscribed to it', async () => {
    script.send(2, FrameKind.FRAME_KIND_ARRIVED);
    await script.until(() => script.session.lost !== null);
    expect(script.session.lost?.code).toBe('PROTOCOL_VIOLATION');
  });
});

describe('datagrams that arrive', () => {
  let local: dgram.Socket;
  let heard: { text: string; from: string }[];

  beforeEach(async () => {
    heard = [];
    local = dgram.createSocket('udp4');
    local.on('message', (text, { address, port }) => heard.push({ text: text.toString(), from: `${address} ${port}` }));
    await new Promise<void>((resolve) => local.bind(0, '127.0.0.1', resolve));
  });
  afterEach(() => local.close());

  const bound = () => at('127.0.0.1', local.address().port);
  const listen = (asked = at('0.0.0.0', 53)) => script.listen(9n, asked, bound(), false, WireTransport.UDP);

  test('come one by one from an address that the layer knows, empty ones as well, and are counted', async () => {
    expect(await listen()).toBe(0);
    expect([...script.subscribed.values()]).toMatchObject([{ transport: Transport.TRANSPORT_UDP, port: 53 }]);
    expect(script.news).toContain('mirroring port 53/udp');
    script.arrive(2);
    for (const text of ['one', '', 'three']) script.data(2, text);
    await script.until(() => heard.length === 3);
    const [{ source, peer }] = script.arrivals as [(typeof script.arrivals)[0]];
    const from = `${source.kind === 'internet' ? `${source.ip.join('.')} ${source.port}` : ''}`;
    expect(peer).toEqual(at('10.9.9.9', 4_000));
    expect(heard).toEqual(['one', '', 'three'].map((text) => ({ text, from })));
    script.gap(2, 0);
    script.data(2, 'four');
    script.end(2, EndReason.END_REASON_IDLE);
    await script.until(() => heard.length === 4 && script.over.length === 1);
    expect(script.incoming.tally.lines()).toEqual(['port 53/udp: 4 datagrams of 1 peer, 12 bytes mirrored']);
  });

  test('share nothing with connections to the port of the same number', async () => {
    await script.listen(1n, at('0.0.0.0', 53), server.address);
    await listen();
    expect([...script.subscribed.values()].map(({ transport }) => transport)).toEqual([1, 2]);
    script.arrive(2);
    script.data(2, 'a datagram');
    await script.until(() => heard.length === 1);
    script.closeListener(9n);
    await script.until(() => script.unsubscribed.length === 1);
    expect(server.connections).toEqual([]);
  });

  test('stay this machine’s where the port is left out, or is stolen', async () => {
    const ignoring = await ScriptedArrivals.open({ ignore_ports: [53] });
    expect(await ignoring.listen(9n, at('0.0.0.0', 53), bound(), false, WireTransport.UDP)).toBe(WIRE_LOCAL);
    ignoring.incoming.close();
    const stealing = await ScriptedArrivals.open({ mode: 'steal' });
    stealing.say(5n, { kind: WireKind.BIND, pid: 1, transport: WireTransport.UDP, asked: at('0.0.0.0', 53) });
    await stealing.until(() => stealing.replies.has(5n));
    expect(stealing.replies.get(5n)?.result).toBe(WIRE_LOCAL);
    stealing.incoming.close();
  });
});

test('a loss is told when it begins, once for each reason', async () => {
  await script.listen(1n, ANY_80, server.address);
  const none = { connections: 0n, bytes: 0n, datagrams: 0n, requests: 0n, notMatched: 0n, notSampled: 0n };
  const loss = { reason: LossReason.LOSS_REASON_RING_FULL, connections: 0n, bytes: 0n, packets: 3n };
  const head = Counters.encode({ ...none, losses: [loss] }).finish();
  const [subscription = 0] = script.subscribed.keys();
  for (let nth = 0; nth < 2; nth++) script.send(subscription, FrameKind.FRAME_KIND_LOSSES, head);
  await script.until(() => script.troubles.length > 0);
  await script.incoming.finish();
  expect(script.troubles).toEqual([
    'port 80 loses some of what arrives: the capture could not keep up; how much is told at the end',
  ]);
});

describe('the end', () => {
  test('says what was mirrored and what was lost, by reason', async () => {
    script.counters = {
      requests: 7n,
      notMatched: 2n,
      losses: [
        { reason: LossReason.LOSS_REASON_RING_FULL, connections: 0n, bytes: 0n, packets: 12n },
        { reason: LossReason.LOSS_REASON_CLIENT_SLOW, connections: 1n, bytes: 2_500_000n, packets: 0n },
      ],
    };
    await script.listen(1n, ANY_80, server.address);
    script.arrive(2, 'hello');
    const one = await served();
    await script.until(() => one.text === 'hello');
    await script.incoming.finish();
    expect(script.incoming.tally.lines()).toEqual([
      'port 80: 1 connection with 7 requests (2 more did not match), 5 bytes mirrored',
      'port 80: lost 12 packets: the capture could not keep up',
      'port 80: lost 2.5 MB of 1 connection: the local process, or the way to it, was too slow',
    ]);
  });

  test('does not wait for a service that says nothing', async () => {
    script.counters = null;
    await script.listen(1n, ANY_80, server.address);
    await script.incoming.finish();
    expect(script.unsubscribed).toHaveLength(1);
  });
});

describe('the configuration', () => {
  const reply = async (id: bigint) => {
    await script.until(() => script.replies.has(id));
    return script.replies.get(id);
  };

  test('maps ports, binds elsewhere, and leaves ports and localhost alone', async () => {
    script = await ScriptedArrivals.open({
      port_mapping: [[8080, 80]],
      listen_ports: [[8080, 18080]],
      ignore_ports: [9229],
      ignore_localhost: true,
    });
    script.bind(1n, at('0.0.0.0', 8080));
    script.bind(2n, at('0.0.0.0', 9229));
    script.bind(3n, at('127.0.0.1', 80));
    script.bind(4n, at('::1', 80));
    script.bind(5n, at('0.0.0.0', 81));
    expect(await reply(1n)).toEqual({ result: 0, address: at('0.0.0.0', 18080) });
    for (const own of [2n, 3n, 4n]) expect(await reply(own)).toEqual({ result: WIRE_LOCAL, address: null });
    expect(await reply(5n)).toEqual({ result: 0, address: null });
    await script.listen(1n, at('0.0.0.0', 8080), server.address);
    expect([...script.subscribed.values()].map(({ port }) => port)).toEqual([80]);
  });

  test('names the only ports, by their number in the target', async () => {
    script = await ScriptedArrivals.open({ ports: [80], port_mapping: [[3000, 80]] });
    script.bind(1n, at('0.0.0.0', 3000));
    script.bind(2n, at('0.0.0.0', 3001));
    expect([(await reply(1n))?.result, (await reply(2n))?.result]).toEqual([0, WIRE_LOCAL]);
  });

  test('filters requests, on the ports it names', async () => {
    script = await ScriptedArrivals.open({
      http_filter: { header_filter: '^x-user: me', method_filter: 'GET', ports: [80] },
    });
    await script.listen(1n, ANY_80, server.address);
    await script.listen(2n, at('0.0.0.0', 81), server.address);
    const [first, second] = [...script.subscribed.values()];
    expect(first?.filter).toEqual({
      isAny: false,
      conditions: [
        { condition: { $case: 'header', value: '(?i)^x-user: me' } },
        { condition: { $case: 'method', value: 'GET' } },
      ],
    });
    expect(second?.filter).toBeUndefined();
  });
});
