// An agent for tests: the other end of a session stream in memory, frames encoded and decoded as on the wire, answers by
// the test's script. Counts what it is asked.

import type { FrameTransport } from '#proto/carrier.ts';
import type { DialOptions } from '#proto/dial.ts';
import type { AppError } from '#proto/errors.ts';
import { encodeBatch, type Frame, makeFrame, NO_BYTES } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { FileReply, FileRequest } from '#proto/gen/v1/fs_env.ts';
import { OpenSession, SessionOpened } from '#proto/gen/v1/session.ts';
import { SessionStream } from '#proto/session-stream.ts';
import type { FileOperation } from '../session.ts';

export interface ScriptedAnswer {
  errno?: number;
  result?: FileReply['result'];
  data?: Uint8Array;
}

/** null: no answer, now or ever. */
export type Script = (operation: FileOperation, data: Uint8Array, id: number) => ScriptedAnswer | null;

const FACTS = {
  pid: 4711,
  startTimeTicks: 1n,
  containerId: '',
  environment: [{ name: Buffer.from('NAME'), value: Buffer.from('value') }],
  resolvConf: Buffer.alloc(0),
  hosts: Buffer.alloc(0),
  hostname: Buffer.alloc(0),
};

export class ScriptedAgent {
  /** In the order in which they came. */
  readonly asked: FileOperation[] = [];
  readonly frames: Frame[] = [];
  script: Script;
  limits = { fileHandles: 1024, requests: 256, uplinkBytes: 3 << 20, downlinkBytes: 3 << 20 };
  opening: OpenSession | null = null;
  /** What SESSION_OPEN is answered with; null for never. */
  answerOpening: (() => Frame) | null = () =>
    makeFrame(
      0,
      FrameKind.FRAME_KIND_SESSION_OPENED,
      SessionOpened.encode({
        sessionId: 's1',
        agentVersion: 'test',
        facts: FACTS,
        limits: this.limits,
        direct: undefined,
      }).finish(),
    );
  /** What it does with frames of connections. */
  onConnection: (frame: Frame) => void = () => {};
  #stream: SessionStream | null = null;

  constructor(script: Script = () => ({})) {
    this.script = script;
  }

  get stream(): SessionStream {
    if (this.#stream === null) throw new Error('nobody has dialled');
    return this.#stream;
  }

  /** In place of proto/dial.ts. */
  readonly dial = async (options: DialOptions): Promise<SessionStream> => {
    const toAgent = new MemoryTransport();
    const toClient = new MemoryTransport();
    const client = new SessionStream({
      transport: toAgent,
      peer: 'agent',
      lostCode: 'AGENT_LOST',
      onFrame: options.onFrame,
      onClosed: options.onClosed,
    });
    this.#stream = new SessionStream({
      transport: toClient,
      peer: 'client',
      lostCode: 'AGENT_LOST',
      onFrame: (frame) => this.#receive(frame),
      onClosed: () => {},
    });
    toAgent.peer = this.#stream;
    toClient.peer = client;
    if (options.opening !== undefined) client.send(options.opening);
    return client;
  };

  /** As if the machine of the agent had lost its power and the kernel had told. */
  vanish(): void {
    this.stream.destroy();
  }

  answer(id: number, { errno = 0, result, data = NO_BYTES }: ScriptedAnswer): void {
    const head = FileReply.encode({ errno, result }).finish();
    this.stream.send(makeFrame(id, FrameKind.FRAME_KIND_FILE_REPLY, head, data));
  }

  #receive(frame: Frame): void {
    this.frames.push(frame);
    if (frame.kind === FrameKind.FRAME_KIND_SESSION_OPEN) {
      this.opening = OpenSession.decode(frame.head);
      if (this.answerOpening !== null) this.stream.send(this.answerOpening());
    } else if (frame.kind === FrameKind.FRAME_KIND_SESSION_CLOSE) {
      this.stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
      this.stream.end();
    } else if (frame.kind === FrameKind.FRAME_KIND_FILE_REQUEST) {
      const operation = FileRequest.decode(frame.head).op;
      if (operation === undefined) throw new Error('a request without an operation');
      this.asked.push(operation);
      const answer = this.script(operation, frame.data, frame.id);
      if (answer !== null && operation.$case !== 'close') this.answer(frame.id, answer);
    } else if (frame.id !== 0) {
      this.onConnection({ ...frame, head: Buffer.from(frame.head), data: Buffer.from(frame.data) });
    }
  }
}

/** Delivers in a later turn of the loop, as a socket would. */
class MemoryTransport implements FrameTransport {
  peer: SessionStream | null = null;

  write(frames: readonly Frame[]): boolean {
    const batch = encodeBatch(frames);
    setImmediate(() => this.peer?.receive(batch));
    return true;
  }

  end(): void {
    setImmediate(() => this.peer?.transportEnded(null));
  }

  destroy(_error: AppError | null): void {
    setImmediate(() => this.peer?.transportEnded(null));
  }
}
