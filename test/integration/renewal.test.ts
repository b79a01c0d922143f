// A session whose connection is harmed in every way, under a local process that is at work: it notices a delay and no more.

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest';
import { can } from '../can.ts';
import { BEYOND, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { type Harm, type Relay, startRelay } from '../fixtures/relay.ts';
import { SYSTEM_PATH, Whole } from '../fixtures/whole.ts';
import { until } from './exec-harness.ts';

const PROGRAM = path.join(import.meta.dirname, '../fixtures/renewal-program.mjs');
const FILE_BYTES = 700_000;
/** Of the promise, and what a busy machine may add to it. */
const NOTICED_WITHIN_MS = 15_000 + 5_000;
const GRACE_S = 1;
/** For what takes a moment when nobody else wants the machine. */
const PATIENCE_MS = 50_000;

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe.skipIf(!can.root.yes)(`renewal (${can.root.why})`, () => {
  let network: TargetNetwork;
  let whole: Whole;
  let digest: string;

  beforeAll(async () => {
    const content = randomBytes(FILE_BYTES);
    digest = createHash('sha256').update(content).digest('hex');
    network = await startNetwork({ files: { '/srv/large': content, '/srv/small': 'small\n' } });
    await network.servePeer(network.beyond, BEYOND);
    whole = await Whole.start({
      target: network.target,
      listen: '127.0.0.1:0',
      agentVariables: {
        MIRRORD_CLIENT_LOST_AFTER_MS: '2000',
        MIRRORD_LOG_LEVEL: 'info',
        MIRRORD_DIRECT_LISTEN: '127.0.0.1:0',
      },
    });
  });

  afterAll(async () => {
    await whole?.close();
    await network?.[Symbol.asyncDispose]();
  });

  async function openRelay({ onTestFinished }: TestContext, door = whole.address, delayMs = 0): Promise<Relay> {
    const relay = await startRelay(door, delayMs);
    onTestFinished(() => relay.close());
    return relay;
  }

  function start(
    { onTestFinished }: TestContext,
    relay: Relay,
    command: readonly string[],
    variables: Record<string, string> = {},
  ) {
    const work = whole.makeWork('root');
    // Of the working directory, which is of this machine.
    copyFileSync(PROGRAM, path.join(work, 'program.mjs'));
    const words = ['exec', '-t', `pid/${network.target.pid}`, '--progress', 'off', '--', ...command];
    const child = spawn(path.join(whole.installed, 'bin/mirrord'), words, {
      cwd: work,
      env: {
        PATH: SYSTEM_PATH,
        HOME: work,
        MIRRORD_AGENT_ADDRESS: relay.address,
        MIRRORD_AGENT_KEY_FILE: path.join(whole.base, 'key'),
        MIRRORD_FILE_READ_WRITE_PATTERN: '^/srv/',
        ...variables,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    onTestFinished(() => end(child));
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, output }));
    const says = (text: string) =>
      until(
        () => `it says ${text}: ${output}`,
        () => output.includes(text),
        PATIENCE_MS,
      );
    return { child, ended, says };
  }

  const agentLog = () => readFileSync(path.join(whole.base, 'agent.log'), 'utf8');
  const peakBytes = () => {
    const [, kilobytes = '0'] = /VmHWM:\s*(\d+)/.exec(readFileSync(`/proc/${whole.agent.pid}/status`, 'utf8')) ?? [];
    return Number(kilobytes) * 1024;
  };
  const work = (connections: number, bytes: number, copy: string) => [
    process.execPath,
    'program.mjs',
    BEYOND,
    '7001',
    String(connections),
    String(bytes),
    '/srv/large',
    copy,
  ];

  test.concurrent('100 connections and files arrive whole while the connection is late, cut, half-closed and stalled', async (context) => {
    const relay = await openRelay(context, whole.address, 2);
    const kinds: Harm[] = ['cut', 'half-close', 'cut', 'half-close', 'stall', 'cut', 'half-close', 'cut'];
    const plan = Array.from({ length: 16 }, (_, index) => ({
      kind: kinds[index % kinds.length] ?? 'cut',
      bytes: 20_000 + Math.floor(Math.random() * 250_000),
    }));
    relay.harmAfter(plan);
    const run = start(context, relay, work(100, 40_000, '/srv/copy'));
    const { code, output } = await run.ended;
    expect({ code, output }).toMatchObject({ code: 0, output: expect.stringContaining('"connections":100') });
    expect(output).toContain(`"digests":["${digest}"]`);
    const copy = readFileSync(path.join(network.target.root, 'srv/copy'));
    expect(createHash('sha256').update(copy).digest('hex')).toBe(digest);
    expect(relay.harmed).toBeGreaterThanOrEqual(5);
    expect(agentLog()).toContain('client is back');
  });

  test.concurrent('a direct connection is TLS from its first byte to its last, and is renewed like any other', async (context) => {
    const relay = await openRelay(context, whole.directAddress ?? '');
    const script = 'cat /srv/small; echo begun; read -r _; cat /srv/small; echo over';
    const run = start(context, relay, ['sh', '-c', script], { MIRRORD_AGENT_ADDRESS: `tls:${relay.address}` });
    await run.says('small\nbegun');
    relay.harm('cut');
    run.child.stdin?.end('\n');
    expect(await run.ended).toMatchObject({ code: 0, output: expect.stringContaining('small\nover') });
    expect(relay.seen.length).toBeGreaterThan(4_000);
    for (const clear of ['small', 'Bearer', 'PRI * HTTP', 'grpc']) expect(relay.seen.includes(clear)).toBe(false);
  });

  test.concurrent('a cable that is pulled is noticed within 15 s, and the session goes on over another way', async (context) => {
    const relay = await openRelay(context);
    const run = start(context, relay, ['sh', '-c', 'echo begun; read -r _; cat /srv/small; echo over']);
    await run.says('begun');
    const arrivals = relay.arrivals;
    const startMs = performance.now();
    relay.harm('vanish');
    run.child.stdin?.end('\n');
    await relay.arrived(arrivals + 1);
    expect(performance.now() - startMs).toBeLessThan(NOTICED_WITHIN_MS);
    expect(await run.ended).toMatchObject({ code: 0, output: expect.stringContaining('small\nover') });
  });

  test.concurrent('a client that stood still until the agent missed it goes on where it was', async (context) => {
    const relay = await openRelay(context);
    const run = start(context, relay, ['sh', '-c', 'echo begun; read -r _; cat /srv/small; echo over']);
    await run.says('begun');
    const away = () => agentLog().split('client is away').length;
    const before = away();
    run.child.kill('SIGSTOP');
    await until(
      () => `the agent misses it: ${agentLog()}`,
      () => away() > before,
      PATIENCE_MS,
    );
    run.child.kill('SIGCONT');
    run.child.stdin?.end('\n');
    expect(await run.ended).toMatchObject({ code: 0, output: expect.stringContaining('small\nover') });
  });

  test.concurrent('after the grace the agent has released everything, and the local process gets EIO and a reason', async (context) => {
    const relay = await openRelay(context);
    const run = start(context, relay, ['sh', '-c', 'echo begun; read -r _; cat /srv/small; echo over'], {
      MIRRORD_AGENT_RECONNECT_TIMEOUT: String(GRACE_S),
    });
    await run.says('begun');
    relay.isOpen = false;
    relay.harm('cut');
    await run.says('could not be reached again within 1 s');
    await until(
      () => `the agent releases it: ${agentLog()}`,
      () => agentLog().includes('the client did not come back within 1 s'),
      PATIENCE_MS,
    );
    run.child.stdin?.end('\n');
    const { code, output } = await run.ended;
    expect({ code, output }).toMatchObject({ code: 0, output: expect.stringContaining('Input/output error') });
  });

  test.concurrent('the session of a client that was killed is kept for the grace it asked for, and then gone', async (context) => {
    const relay = await openRelay(context);
    const run = start(context, relay, ['sh', '-c', 'echo begun; read -r _'], {
      MIRRORD_AGENT_RECONNECT_TIMEOUT: '2',
    });
    await run.says('begun');
    const count = () => agentLog().split('did not come back within 2 s').length;
    const before = count();
    run.child.kill('SIGKILL');
    await until(
      () => `the agent releases it: ${agentLog()}`,
      () => count() > before,
      PATIENCE_MS,
    );
    expect(existsSync(`/proc/${whole.agent.pid}`)).toBe(true);
  });

  test.concurrent('a client that ends in order while it has no connection does not wait for one', async (context) => {
    const relay = await openRelay(context);
    const run = start(context, relay, ['sh', '-c', 'echo begun; read -r _']);
    await run.says('begun');
    relay.isOpen = false;
    const arrivals = relay.arrivals;
    relay.harm('cut');
    await relay.arrived(arrivals + 1);
    run.child.stdin?.end('\n');
    expect(await run.ended).toMatchObject({ code: 0 });
  });

  test('an agent that must keep what its target sends keeps little of it', async (context) => {
    const relay = await openRelay(context);
    const bulk = `
      const net = require('node:net');
      let open = 0;
      for (let index = 0; index < 12; index += 1) {
        const socket = net.connect(7005, '${BEYOND}');
        socket.once('data', () => { open += 1; if (open === 12) console.log('all flow'); });
        socket.on('error', (error) => console.log('broke', error.message));
      }
      process.stdin.resume().once('end', () => process.exit(0));`;
    const run = start(context, relay, [process.execPath, '-e', bulk]);
    await run.says('all flow');
    const before = peakBytes();
    relay.isOpen = false;
    const arrivals = relay.arrivals;
    relay.harm('cut');
    await relay.arrived(arrivals + 8);
    expect(peakBytes() - before).toBeLessThan(100 * 1024 * 1024);
    relay.isOpen = true;
    await relay.arrived(relay.arrivals + 1);
    run.child.stdin?.end();
    expect(await run.ended).toMatchObject({ code: 0, output: expect.not.stringContaining('broke') });
  });
});
