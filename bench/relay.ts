// How much of a plain framed unix socket is left when the same 64 KiB frames travel as a session: over one hop, over two
// with an agent-like relay between, and as files are read (a request for every frame). Each process stands alone, and the
// socket and the session take turns.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
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
import { printTable, takeTurns } from './table.ts';

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
    const ms = await takeTurns(ROUNDS, {
      socketOne: () => socketOne.receive(FRAMES),
      sessionOne: () => sessionOne.receive(FRAMES),
      readsOne: () => sessionOne.read(FRAMES),
      socketTwo: () => socketTwo.receive(FRAMES),
      sessionTwo: () => sessionTwo.receive(FRAMES),
      readsTwo: () => sessionTwo.read(FRAMES),
    });
    const row = (name: string, value: number, baseline: number) => {
      return [name, value, (FRAMES * FRAME_BYTES) / 2 ** 20 / (value / 1000), baseline / value];
    };
    printTable(
      `${FRAMES} frames of 64 KiB, medians of ${ROUNDS} runs in turns; at least 0.8 of the plain socket`,
      ['way', 'ms', 'MiB/s', 'ratio'],
      [
        row('one hop: plain framed socket', ms.socketOne, ms.socketOne),
        row('one hop: session', ms.sessionOne, ms.socketOne),
        row('one hop: session, a request each', ms.readsOne, ms.socketOne),
        row('two hops: plain framed sockets', ms.socketTwo, ms.socketTwo),
        row('two hops: session', ms.sessionTwo, ms.socketTwo),
        row('two hops: session, a request each', ms.readsTwo, ms.socketTwo),
      ],
    );
    for (const end of [socketOne, socketTwo, sessionOne, sessionTwo]) end.close();
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  }
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
