// One connection that arrived at the target, and its copy to a socket of the local process: bytes go in as they come,
// under credit, and what the local process answers is read and thrown away, or goes back when the connection is stolen. Ends
// follow the original.
//
// Memory: the connection's credit, which is given back as the local process's socket takes the bytes.

import net from 'node:net';
import { LocalEnd } from '#proto/gen/v1/incoming.ts';
import type { InternetAddress } from '#proto/socket-address.ts';
import { formatIp } from '#proto/socket-address.ts';
import type { Answering } from './answering.ts';
import type { Answers } from './answers.ts';
import { Arrival, type ArrivalOptions } from './arrival.ts';
import { beginsRequest, Http1Exchanges } from './http1-exchanges.ts';
import { beginsHttp2 } from './http2-frames.ts';
import { Http2Sockets } from './http2-sockets.ts';
import type { LocalLoss } from './tally.ts';
import type { Secure } from './tls-delivery.ts';
import type { Ends, UnreadBytes } from './unread-bytes.ts';

export interface CopyOptions extends ArrivalOptions {
  /** Of a stolen connection: where the answers go. */
  readonly answers: Answers | undefined;
  /** Behind the local process's FIN nothing more is for it. */
  readonly isForRequests?: boolean;
  /** The bytes go in TLS. */
  readonly secure?: Secure | null;
  /** The service leaves out what belongs to a hop of HTTP/2: that is ours to speak. */
  readonly mayBeHttp2?: boolean;
  /** So many bytes more, or less, wait for the local process. */
  holds(bytes: number): void;
  /** The local process takes no more on the connection that it has: `connect` is to be called for another one. */
  again(): void;
  readonly unread: UnreadBytes;
  readonly answering: Answering;
}

/** How long the local process may take to end a connection whose original has ended, while it says nothing. */
export const LINGER_MS = 10_000;
/** Pieces below this are copied out of the batch they came in, which would be kept for them. */
const COPIED_BYTES = 16 * 1024;
/** Pieces, and bytes of each: a server says its SETTINGS and no more. */
const MAX_EARLY_ANSWERS = 4;
const MAX_EARLY_BYTES = 4 * 1024;
/** Of a local process that says nothing more but reads on: how long that is taken for granted. */
const OPEN_MS = 200;

export class Copy extends Arrival<CopyOptions> {
  #socket: net.Socket | null = null;
  #ends: Ends | null = null;
  /** What `#socket` is, or lies over. */
  #raw: net.Socket | null = null;
  /** null: the bytes go as they come, to `#socket`. Otherwise that is the one that is being connected. */
  #http2: Http2Sockets | null = null;
  #http1: Http1Exchanges | null = null;
  #hasBegun = false;
  /** What the local process said before the first byte of the copy. */
  #earlyAnswers: Buffer[] = [];
  /** Came before the socket was connected. */
  #early: Buffer[] = [];
  #end: 'none' | 'half' | 'whole' | 'reset' = 'none';
  #linger: NodeJS.Timeout | undefined;
  /** The end comes when it came: nobody waits for an answer. */
  #hasLingered = false;
  #quiet: NodeJS.Timeout | undefined;
  #isRefused = false;
  #isResetting = false;
  #isConnected = false;
  /** The local process has said that it says nothing more: whether it reads what comes is known until then. */
  #openUntilMs = Infinity;
  #isDoubtful = false;
  #pendingBytes = 0;
  readonly #onMute = () => this.#applyEnd();
  /** To the local process's socket. */
  #passedBytes = 0n;

  /** Once, and when `again` was called. `from` is bound here; `onRefused` says that nobody listened, that the address was taken, or that TLS failed. */
  connect(from: InternetAddress, to: InternetAddress, onRefused: (code: string) => void): void {
    if (this.isClosed) return;
    this.#ends = { from, to };
    const socket = net.connect({
      host: formatIp(to.ip),
      port: to.port,
      localAddress: formatIp(from.ip),
      localPort: from.port,
      allowHalfOpen: true,
      noDelay: true,
    });
    this.#raw = socket;
    const { secure = null } = this.options;
    this.#use(socket, secure === null ? 'connect' : null, onRefused);
    if (secure === null) return;
    socket.once('connect', () => {
      // The former handlers are of a socket that is no more ours than its bytes are.
      if (!this.isClosed) this.#use(secure(socket), 'secureConnect', onRefused);
    });
  }

  /** @param ready the event after which bytes may go; null: another socket takes the place of this one then */
  #use(socket: net.Socket, ready: 'connect' | 'secureConnect' | null, onRefused: (code: string) => void): void {
    this.#socket = socket;
    if (ready !== null) {
      socket.once(ready, () => {
        if (socket.destroyed) return;
        if (this.#http2 === null) this.#isConnected = true;
        else this.#attach(this.#http2, socket);
        for (const piece of this.#early.splice(0)) this.#write(piece);
        this.#applyEnd();
      });
    }
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#socket !== socket) return;
      if (this.#isDoubtful) this.#judged(socket, false);
      else if (this.#isConnected) this.#failed();
      else {
        this.#socket = null;
        onRefused(error.code ?? 'EIO');
      }
    });
    if (ready === null) return;
    socket.on('close', () => {
      if (this.#socket === socket) this.close();
    });
    socket.on('timeout', () => socket.destroy());
    if (this.options.answers !== undefined) this.options.answers.from(socket);
    else {
      socket
        .on('data', (answer) => this.#answered(answer))
        .on('end', () => {
          if (this.#socket !== socket) return;
          this.#openUntilMs = 0;
          this.#applyEnd();
        });
    }
  }

  protected take(data: Uint8Array): void {
    if (data.length === 0) return;
    if (this.options.isForRequests === true && this.options.answers?.hasEnded === true) {
      this.consumed(data.length, true);
      return;
    }
    const piece =
      data.length < COPIED_BYTES ? Buffer.from(data) : Buffer.from(data.buffer, data.byteOffset, data.length);
    if (!this.#hasBegun) this.#begin(piece);
    if (this.#openUntilMs < performance.now()) this.#doubt();
    this.#pendingBytes += piece.length;
    this.options.holds(piece.length);
    this.#http1?.asks(piece);
    if (this.#http2 !== null) this.#http2.push(piece);
    else if (this.#isConnected) this.#write(piece);
    else this.#early.push(piece);
  }

  /** Head of what tells that the local process has ended its direction. */
  get localEnd(): Uint8Array {
    return LocalEnd.encode({ bytes: this.#passedBytes }).finish();
  }

  halfClose(isUnanswered = false): void {
    this.#hasLingered ||= isUnanswered;
    if (this.#end === 'none') this.#end = 'half';
    this.#applyEnd();
  }

  /** A reset comes behind the last byte, as it does where the target has those already. */
  end(isReset = false, isUnanswered = false): void {
    this.#hasLingered ||= isUnanswered;
    this.#end = isReset ? 'reset' : 'whole';
    this.#applyEnd();
  }

  /** Something is missing in the stream: what is behind it must not be joined to what was before. */
  cut(): void {
    if (this.isClosed) return;
    this.options.lost('incomplete', 0);
    this.options.reset(0);
    this.#abort();
  }

  protected get waitingBytes(): number {
    return this.#pendingBytes;
  }

  /** Of a connection that is not the first the others go on to what they have begun. */
  override refuse(why: LocalLoss, errno = 0): void {
    if (this.isClosed) return;
    if (this.#http2?.isClosed !== false) {
      this.#isRefused = true;
      super.refuse(why, errno);
      return;
    }
    const bytes = this.#http2.forsake();
    this.options.lost(why, bytes);
    this.#forget(bytes);
    this.options.reset(0);
    this.end();
  }

  protected release(): void {
    const heldBack = this.#isRefused ? 0 : (this.#http2?.waitingBytes ?? 0);
    if (heldBack > 0) this.options.lost('closed early', heldBack);
    this.#early = [];
    clearTimeout(this.#linger);
    clearTimeout(this.#quiet);
    this.options.answering.waitNoMore(this.#onMute);
    this.#socket?.destroy();
    this.#http2?.close(false);
    this.options.holds(-this.#pendingBytes);
  }

  #begin(first: Buffer): void {
    this.#hasBegun = true;
    const said = this.#earlyAnswers;
    this.#earlyAnswers = [];
    if (this.options.answers === undefined && beginsRequest(first)) this.#http1 = new Http1Exchanges();
    if (this.options.mayBeHttp2 !== true || !beginsHttp2(first)) return;
    this.#http2 = new Http2Sockets({
      taken: (bytes) => this.#taken(bytes),
      lost: (bytes) => {
        this.options.lost('closed early', bytes);
        this.#forget(bytes);
      },
      again: () => this.options.again(),
      keeps: (bytes) => this.options.holds(bytes),
      progress: () => this.#applyEnd(),
    });
    if (this.#isConnected && this.#socket !== null) this.#attach(this.#http2, this.#socket, said);
  }

  /** From here on its ends are not ours to see. */
  #attach(http2: Http2Sockets, socket: net.Socket, said: readonly Buffer[] = []): void {
    this.#leave();
    http2.attach(socket, this.#ends as Ends, said);
  }

  /** Read, so that the local process is not held up by it, and thrown away. */
  #answered(answer: Buffer): void {
    if (this.#http1 !== null) {
      this.options.answering.answered();
      this.#http1.answers(answer, performance.now());
      this.#applyEnd();
    }
    if (this.#hasBegun || this.options.mayBeHttp2 !== true) return;
    const isFew = this.#earlyAnswers.length < MAX_EARLY_ANSWERS && answer.length <= MAX_EARLY_BYTES;
    if (isFew) this.#earlyAnswers.push(answer);
  }

  #write(piece: Buffer): void {
    this.#passedBytes += BigInt(piece.length);
    this.#socket?.write(piece, (error) => error ?? this.#taken(piece.length));
  }

  #leave(): void {
    this.#socket = null;
    this.#isConnected = false;
    this.#isDoubtful = false;
    this.#openUntilMs = Infinity;
  }

  /** A server ends a connection that was idle: nothing is written until it is clear that it does not read. */
  #doubt(): void {
    const socket = this.#socket;
    if (socket === null || !this.#isConnected || this.#pendingBytes > 0) return;
    this.#isConnected = false;
    this.#isDoubtful = true;
    this.options.unread.whetherOpen(this.#ends as Ends, (isOpen) => this.#judged(socket, isOpen));
  }

  #judged(socket: net.Socket, isOpen: boolean): void {
    if (this.isClosed || this.#socket !== socket || !this.#isDoubtful) return;
    if (isOpen) {
      this.#isDoubtful = false;
      this.#isConnected = true;
      this.#openUntilMs = performance.now() + OPEN_MS;
      for (const piece of this.#early.splice(0)) this.#write(piece);
      this.#applyEnd();
      return;
    }
    if (!beginsRequest(this.#early[0] as Buffer)) {
      this.#failed();
      return;
    }
    this.#leave();
    socket.destroy();
    this.#http1 = new Http1Exchanges();
    for (const piece of this.#early) this.#http1.asks(piece);
    this.options.again();
  }

  /** They are lost, and counted. */
  #forget(bytes: number): void {
    this.#pendingBytes -= bytes;
    this.options.holds(-bytes);
  }

  /** By the local process's socket. */
  #taken(bytes: number): void {
    if (this.isClosed) return;
    this.#pendingBytes -= bytes;
    this.options.holds(-bytes);
    this.options.delivered(bytes);
    this.consumed(bytes, this.#end === 'none' || this.#end === 'half');
    if (this.#end === 'reset') this.#applyEnd();
  }

  #applyEnd(): void {
    if (this.isClosed || this.#end === 'none') return;
    if (this.#http2 !== null) {
      this.#applyHttp2End(this.#http2);
      return;
    }
    const socket = this.#socket;
    if (socket === null || !this.#isConnected || this.#isAnswerDue(this.#http1)) return;
    if (this.#end === 'half') socket.end();
    else socket.setTimeout(LINGER_MS);
    if (this.#end === 'whole') socket.end();
    else if (this.#end === 'reset' && this.#pendingBytes === 0) this.#reset(socket);
  }

  /** Then the end is applied later. */
  #isAnswerDue(http1: Http1Exchanges | null): boolean {
    if (http1 === null || this.#hasLingered || this.options.answering.isMute) return false;
    if (this.#openUntilMs !== Infinity) return false;
    const dueMs = http1.dueMs(performance.now());
    clearTimeout(this.#quiet);
    if (dueMs === 0) return false;
    const act = (hasLingered: boolean) => {
      this.#hasLingered ||= hasLingered;
      if (hasLingered) this.options.answering.lingered();
      this.#applyEnd();
    };
    this.options.answering.wait(this.#onMute);
    this.#linger ??= setTimeout(act, LINGER_MS, true).unref();
    if (dueMs !== Infinity) this.#quiet = setTimeout(act, dueMs, false).unref();
    return true;
  }

  /** What the local process's windows hold back comes first, and its answers: the target has given its own. */
  #applyHttp2End(http2: Http2Sockets): void {
    if (!http2.isDone) {
      if (this.#end !== 'half') this.#linger ??= setTimeout(() => this.close(), LINGER_MS).unref();
    } else if (http2.isClosed) this.close();
    else if (this.#end !== 'reset') http2.end(LINGER_MS);
    else if (!this.#isResetting) {
      this.#isResetting = true;
      http2.reset(this.options.unread);
    }
  }

  #reset(socket: net.Socket): void {
    if (this.#isResetting) return;
    this.#isResetting = true;
    // What the kernel has it delivers, also behind a socket that is closed, but not behind a reset.
    this.options.unread.whenRead(this.#ends as Ends, (isRead) => {
      if (isRead) socket.resetAndDestroy();
      else socket.destroy();
    });
  }

  /** The local process closed or reset it, or will not take more. */
  #failed(): void {
    if (this.isClosed) return;
    if (this.#end === 'none' || this.#pendingBytes > 0) this.options.lost('closed early', this.#pendingBytes);
    if (this.#end === 'none' || this.#end === 'half') this.options.reset(0);
    this.close();
  }

  #abort(): void {
    this.#raw?.resetAndDestroy();
    this.#http2?.close(true);
    this.close();
  }
}
