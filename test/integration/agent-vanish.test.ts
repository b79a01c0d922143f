import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SessionClosedEvent } from '#proto/gen/v1/event.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { sessionClosed } from '#proto/subjects.ts';
import { mintToken, newSessionId } from '#proto/token.ts';
import { Bus } from '#runtime/bus.ts';
import { type NatsChild, startNats } from '../../services/agent/nats-child.ts';
import { type Agent, buildBundles, firstLine, openSession, socketCount, startAgent } from './agent-harness.ts';

/** Of the promise, from the moment in which the client is gone. */
const NOTICED_WITHIN_MS = 15_000;

const logger = pino({ level: 'silent' });
let bundles: Awaited<ReturnType<typeof buildBundles>>;
let natsDirectory: string;
let nats: NatsChild;
let bus: Bus;
let agent: Agent;
let fsEnvPid: number;
let baseline: [number, number];

beforeAll(async () => {
  bundles = await buildBundles();
  natsDirectory = mkdtempSync(path.join(tmpdir(), 'nats-'));
  nats = await startNats(natsDirectory, logger);
  bus = await Bus.connect({ url: nats.url, name: 'test', deadlineMs: 5_000, logger });
  agent = await startAgent(bundles.directory, {
    MIRRORD_NATS_URL: nats.url,
    MIRRORD_GATEWAY_LISTEN: '127.0.0.1:0',
  });
  fsEnvPid = agent.children().get('fs-env') as number;
  baseline = [socketCount(agent.pid), socketCount(fsEnvPid)];
});

afterAll(async () => {
  await agent.stop();
  await bus.close();
  await nats.close();
  rmSync(natsDirectory, { recursive: true });
  bundles.dispose();
});

/** The agent's own word that it has released the session, and how long it took from `start`. */
function closing(sessionId: string): {
  since(start: number): Promise<{ elapsedMs: number; event: SessionClosedEvent }>;
} {
  const told = new Promise<{ atMs: number; event: SessionClosedEvent }>((resolve) => {
    bus.subscribe(sessionClosed(sessionId), (payload) => {
      resolve({ atMs: performance.now(), event: SessionClosedEvent.decode(payload) });
    });
  });
  return {
    since: async (start) => {
      const { atMs, event } = await told;
      return { elapsedMs: atMs - start, event };
    },
  };
}

async function startClient(sessionId: string): Promise<ChildProcessWithoutNullStreams> {
  const client = spawn(process.execPath, [path.join(bundles.directory, 'idle-client.js')], {
    env: {
      GATEWAY: agent.gateway,
      TOKEN: mintToken(agent.key, sessionId, 60),
      TARGET_PID: String(process.pid),
    },
  });
  expect(await firstLine(client)).toBe('open');
  return client;
}

test.concurrent('a client that is killed is noticed at once', async () => {
  const sessionId = newSessionId();
  const closed = closing(sessionId);
  const client = await startClient(sessionId);
  const start = performance.now();
  client.kill('SIGKILL');
  const { elapsedMs, event } = await closed.since(start);
  expect(elapsedMs).toBeLessThan(2_000);
  expect(event.error?.message).toContain('client');
});

test.concurrent('a client that is stopped is noticed, and when it goes on it learns that it was given up', async () => {
  const sessionId = newSessionId();
  const closed = closing(sessionId);
  const client = await startClient(sessionId);
  const said = firstLine(client);
  const start = performance.now();
  client.kill('SIGSTOP');
  const { elapsedMs } = await closed.since(start);
  expect(elapsedMs).toBeGreaterThan(5_000);
  expect(elapsedMs).toBeLessThan(NOTICED_WITHIN_MS);
  client.kill('SIGCONT');
  expect(await said).toMatch(/^closed /);
  await once(client, 'close');
});

test.concurrent('a network that is cut in the middle of a transfer is noticed on both sides', async () => {
  const relay = await startRelay(agent.gateway);
  const session = await openSession(agent, { address: relay.address });
  const closed = closing(session.sessionId);
  expect((await session.next()).kind).toBe(FrameKind.FRAME_KIND_SESSION_OPENED);
  for (let id = 1; id < 64; id += 2) {
    session.request(id, { $case: 'read', value: { handle: 1, offset: 0n, length: 256 * 1024 } });
  }
  await session.next();
  relay.cut();
  const start = performance.now();
  const { elapsedMs, event } = await closed.since(start);
  expect(elapsedMs).toBeLessThan(NOTICED_WITHIN_MS);
  expect(event.error?.message).toBe('the client has been silent for too long');
  expect(await session.closed).toMatchObject({ code: 'AGENT_LOST', message: 'the agent has been silent for too long' });
  expect(performance.now() - start).toBeLessThan(NOTICED_WITHIN_MS);
  relay.close();
});

test.concurrent('a session without traffic lives on', async () => {
  const session = await openSession(agent);
  await session.next();
  await new Promise<void>((resolve) => {
    const end = bus.subscribe(
      'mirrord.v1.node.test-node.agent.heartbeat',
      countTo(4, () => {
        end();
        resolve();
      }),
    );
  });
  session.request(1, { $case: 'read', value: { handle: 1, offset: 0n, length: 5 } });
  expect((await session.next()).data).toHaveLength(5);
  await session.close();
});

test('afterwards the agent and fs-env hold no socket of any of them', async () => {
  await expect.poll(() => [socketCount(agent.pid), socketCount(fsEnvPid)], { timeout: 10_000 }).toEqual(baseline);
});

/** The fourth heartbeat comes after more than 15 s: a clock that the agent itself brings. */
function countTo(count: number, reached: () => void): () => void {
  let seen = 0;
  return () => {
    seen += 1;
    if (seen === count) reached();
  };
}

interface Relay {
  readonly address: string;
  /** From here on nothing is forwarded and nothing is closed, as when a cable is pulled. */
  cut(): void;
  close(): void;
}

async function startRelay(target: string): Promise<Relay> {
  const [host, port] = target.split(':') as [string, string];
  const sockets: net.Socket[] = [];
  const server = net.createServer((downstream) => {
    const upstream = net.connect(Number(port), host);
    for (const [from, to] of [
      [downstream, upstream],
      [upstream, downstream],
    ] as const) {
      sockets.push(from);
      from.pipe(to);
      from.on('error', () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    cut: () => {
      for (const socket of sockets) {
        socket.unpipe();
        socket.pause();
      }
    },
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
