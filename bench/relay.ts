// How much of a plain framed unix socket is left when the same 64 KiB frames travel as a session: over one hop, over two
// with an agent-like relay between, and as files are read (a request for every frame). Each process stands alone, and the
// socket and the session take turns.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { dial } from '../proto/dial.ts';
import { makeFrame } from '../proto/frame.ts';
import { FrameKind } from '../proto/gen/v1/frame.ts';
import type { SessionHandlers, SessionStream } from '../proto/session-stream.ts';
import { mintToken, newSessionId } from '../proto/token.ts';
import { BENCH_KEY, FRAME_BYTES, runRole } from './relay-roles.ts';
import { PlainSocket } from './relay-socket.ts';
import { median, printTable, ratios, timeTurns } from './table.ts';

const ROUNDS = Number(process.argv[2] ?? 7);
const FRAMES = (Number(process.argv[3] ?? 256) * 2 ** 20) / FRAME_BYTES;
const READS_IN_FLIGHT = 32;

async function main(): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'relay-'));
  const children: ChildProcess[] = [];
  try {
    for (const name of ['socket-producer', 'socket-relay', 'session-producer', 'session-relay']) {
      const child = fork(fileURLToPath(import.meta.url), {
        env: { ...process.env, BENCH_ROLE: name, BENCH_DIR: directory },
      });
      children.push(child);
      await once(child, 'message');
    }
    const socketOne = await PlainSocket.connect(`${directory}/socket-producer`);
    const socketTwo = await PlainSocket.connect(`${directory}/socket-relay`);
    const sessionOne = await BenchSession.open(`${directory}/session-producer`);
    const sessionTwo = await BenchSession.open(`${directory}/session-relay`);
    const cpu = new Map<string, number>();
    const pids = [process.pid, ...children.map(({ pid }) => pid as number)];
    const counted = (name: string, run: () => Promise<void>) => async () => {
      const before = cpuMs(pids);
      await run();
      cpu.set(name, (cpu.get(name) ?? 0) + cpuMs(pids) - before);
    };
    const ms = await timeTurns(ROUNDS, {
      socketOne: counted('socketOne', () => socketOne.receive(FRAMES)),
      sessionOne: counted('sessionOne', () => sessionOne.receive(FRAMES)),
      readsOne: counted('readsOne', () => sessionOne.read(FRAMES)),
      socketTwo: counted('socketTwo', () => socketTwo.receive(FRAMES)),
      sessionTwo: counted('sessionTwo', () => sessionTwo.receive(FRAMES)),
      readsTwo: counted('readsTwo', () => sessionTwo.read(FRAMES)),
    });
    const row = (text: string, name: keyof typeof ms, baseline: keyof typeof ms) => {
      const cpuUs = ((cpu.get(name) ?? 0) * 1000) / (FRAMES * (ROUNDS + 1));
      const medianMs = median(ms[name]);
      const rate = (FRAMES * FRAME_BYTES) / 2 ** 20 / (medianMs / 1000);
      return [text, medianMs, rate, ...ratios(ms[baseline], ms[name]), cpuUs];
    };
    printTable(
      `${FRAMES} frames of 64 KiB, medians of ${ROUNDS} runs in turns; at least 0.8 of the plain socket`,
      ['way', 'ms', 'MiB/s', 'ratio', 'least', 'most', 'CPU us a frame, all processes'],
      [
        row('one hop: plain framed socket', 'socketOne', 'socketOne'),
        row('one hop: session', 'sessionOne', 'socketOne'),
        row('one hop: session, a request each', 'readsOne', 'socketOne'),
        row('two hops: plain framed sockets', 'socketTwo', 'socketTwo'),
        row('two hops: session', 'sessionTwo', 'socketTwo'),
        row('two hops: session, a request each', 'readsTwo', 'socketTwo'),
      ],
    );
    for (const end of [socketOne, socketTwo, sessionOne, sessionTwo]) end.close();
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  }
}

/** User and system time so far (proc(5), stat fields 14 and 15, in ticks of 10 ms): steadier than the clock on a busy machine. */
function cpuMs(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) * 10;
  }, 0);
}

/** The receiving end of a session with a producer: its first frame asks for the count of frames in `head`. */
class BenchSession implements SessionHandlers {
  #stream: SessionStream | null = null;
  #onReply: () => void = () => undefined;

  static async open(socketPath: string): Promise<BenchSession> {
    const session = new BenchSession();
    session.#stream = await dial({
      address: `unix:${socketPath}`,
      service: 'FsEnv',
      token: mintToken(BENCH_KEY, newSessionId(), 600),
      deadlineMs: 5_000,
      opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN),
      onFrame: () => session.onFrame(),
      onClosed: () => undefined,
    });
    return session;
  }

  onFrame(): void {
    this.#onReply();
  }

  onClosed(): void {
    this.#stream = null;
  }

  /** One request, `count` frames. */
  receive(count: number): Promise<void> {
    let left = count;
    return new Promise((resolve) => {
      this.#onReply = () => {
        left -= 1;
        if (left === 0) resolve();
      };
      this.#ask(1, count);
    });
  }

  /** A request for every frame, as files are read. */
  read(count: number): Promise<void> {
    let asked = 0;
    let left = count;
    return new Promise((resolve) => {
      const ask = () => {
        if (asked === count) return;
        asked += 1;
        this.#ask(asked * 2 + 1, 1);
      };
      this.#onReply = () => {
        left -= 1;
        ask();
        if (left === 0) resolve();
      };
      for (let index = 0; index < READS_IN_FLIGHT; index += 1) ask();
    });
  }

  close(): void {
    this.#stream?.destroy();
  }

  #ask(id: number, count: number): void {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(count);
    this.#stream?.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REQUEST, head));
  }
}

const role = process.env['BENCH_ROLE'];
if (role === undefined) await main();
else await runRole(role, process.env['BENCH_DIR'] ?? '');
