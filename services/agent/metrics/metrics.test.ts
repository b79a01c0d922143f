import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Counters, Gap } from '#proto/gen/v1/incoming.ts';
import { SessionCounts } from './counts.ts';
import { exposition } from './exposition.ts';
import { families, stealerStats } from './metrics.ts';
import { type MetricsServer, openMetrics } from './server.ts';

/** Ids of a mirrored, a stolen and an outgoing connection (proto/incoming.ts). */
const [MIRRORED, STOLEN, OUTGOING] = [2, 4, 1];
const BYTES = Buffer.alloc(10);

let server: MetricsServer | undefined;
afterEach(() => {
  server?.close();
  server = undefined;
});

test('frames of a session are counted by what they belong to, and go where they would', () => {
  const counts = new SessionCounts();
  const sent: number[] = [];
  const received: number[] = [];
  const stream = { send: ({ kind }: { kind: number }) => sent.push(kind) as unknown as undefined };
  const handlers = counts.meter(stream as never, () => ({
    onFrame: ({ kind }) => {
      received.push(kind);
    },
    onClosed: () => undefined,
  }));
  const send = (id: number, kind: FrameKind, head?: Uint8Array, data?: Uint8Array) =>
    stream.send(makeFrame(id, kind, head, data));
  send(MIRRORED, FrameKind.FRAME_KIND_ARRIVED);
  send(STOLEN, FrameKind.FRAME_KIND_ARRIVED, undefined, BYTES);
  send(OUTGOING, FrameKind.FRAME_KIND_CONNECTED);
  for (const id of [MIRRORED, STOLEN, OUTGOING, OUTGOING]) send(id, FrameKind.FRAME_KIND_DATA, undefined, BYTES);
  const gap = Gap.decode(new Uint8Array());
  send(MIRRORED, FrameKind.FRAME_KIND_GAP, Gap.encode({ ...gap, bytes: 7n }).finish());
  const losses = [{ reason: 1, connections: 2n, bytes: 0n, packets: 3n } as const];
  send(3, FrameKind.FRAME_KIND_LOSSES, Counters.encode({ ...Counters.decode(new Uint8Array()), losses }).finish());
  for (const id of [STOLEN, OUTGOING])
    void handlers.onFrame(makeFrame(id, FrameKind.FRAME_KIND_DATA, undefined, BYTES));
  expect(sent).toHaveLength(9);
  expect(received).toHaveLength(2);
  const nothing = { lostBytes: 0, lostConnections: 0, lostPackets: 0 };
  expect(counts).toMatchObject({
    sessions: 1,
    ways: {
      mirror: { connections: 1, toClient: 10, fromClient: 0, lostBytes: 7, lostConnections: 2, lostPackets: 3 },
      steal: { connections: 1, toClient: 20, fromClient: 10, ...nothing },
      outgoing: { connections: 1, toClient: 20, fromClient: 10, ...nothing },
    },
  });
});

test('a stealer that is not there, or says something else, has no requests', () => {
  const text = exposition(families(new SessionCounts(), 0, stealerStats({ matched: 'many' })));
  expect(text).toContain('# TYPE mirrord_http_requests_total counter\n# HELP');
  expect(stealerStats(null)).toBeNull();
  expect(exposition(families(new SessionCounts(), 0, { matched: 2, passed: 5 }))).toContain(
    'mirrord_http_requests_total{outcome="matched"} 2\nmirrord_http_requests_total{outcome="passed"} 5\n',
  );
});

test('only a GET of /metrics is answered, as Prometheus reads it; a failure is a 500 and not the end', async () => {
  const texts = ['a 1\n', null, 'a 2\n'];
  server = await openMetrics('[::1]:0', async () => {
    const text = texts.shift() ?? null;
    if (text === null) throw new Error('nothing to say');
    return text;
  });
  const ask = async (path: string, method = 'GET') => {
    const answer = await fetch(`http://${server?.address}${path}`, { method });
    return [answer.status, await answer.text()];
  };
  expect(await ask('/metrics?x=y')).toEqual([200, 'a 1\n']);
  expect(await ask('/metrics')).toEqual([500, '']);
  expect((await ask('/'))[0]).toBe(404);
  expect((await ask('/metrics', 'POST'))[0]).toBe(405);
  const waiting = connect(Number(server.address.split(':').at(-1)), '::1');
  await once(waiting, 'connect');
  expect(await ask('/metrics')).toEqual([200, 'a 2\n']);
  const closed = once(waiting, 'close');
  server.close();
  await closed;
});

test('an address that somebody has is told with its key', async () => {
  const other = createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = `127.0.0.1:${(other.address() as { port: number }).port}`;
  await expect(openMetrics(address, async () => '')).rejects.toThrow(
    `agent.metrics: the agent cannot listen at ${address}: EADDRINUSE`,
  );
  other.close();
});
