// One session's way into its target's network: opened by the first CONNECT, gone with the target or the session.

import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import type { Frame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { assertNetworkNamespace } from '#runtime/netns.ts';
import { TargetHandle, type TargetIdentity } from '#runtime/target-handle.ts';
import { resetFrame } from './connection.ts';
import { Connections, type SessionLimits } from './connections.ts';
import type { DenyList } from './deny-list.ts';
import { Downlink, type OutgoingLink } from './downlink.ts';

export interface OutgoingSessionOptions {
  readonly target: TargetIdentity;
  readonly link: OutgoingLink;
  readonly limits: SessionLimits;
  readonly logger: Logger;
  denyList(handle: TargetHandle): DenyList;
  onClosed(): void;
}

export class OutgoingSession {
  readonly #options: OutgoingSessionOptions;
  #handle: TargetHandle | null = null;
  #connections: Connections | null = null;
  #isClosing = false;
  /** Set once the target has ended: there is no network to return to. */
  #ended: AppError | null = null;
  #closed: Promise<void> | null = null;

  constructor(options: OutgoingSessionOptions) {
    this.#options = options;
  }

  /** Connections the client has not seen the end of. */
  get connections(): number {
    return this.#connections?.count ?? 0;
  }

  /**
   * CONNECT, DATA, HALF_CLOSE, RESET or CREDIT of a connection. Never waits: what a connection may bring is bounded by its
   * own credit. Throws PROTOCOL_VIOLATION for an id that cannot be.
   */
  handle(frame: Frame): void {
    if (this.#isClosing) return;
    if (frame.kind === FrameKind.FRAME_KIND_CONNECT) this.#connect(frame);
    else this.#connections?.receive(frame);
  }

  /** Lets connections send what they were given, for a moment, then ends them. Resolves when all is released. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #connect(frame: Frame): void {
    const { id } = frame;
    if (id % 2 === 0) throw new AppError('PROTOCOL_VIOLATION', `connection ${id} was not opened by the client`);
    if (this.#connections?.has(id)) throw new AppError('PROTOCOL_VIOLATION', `connection ${id} is already open`);
    try {
      this.#ensureConnections().connect(frame);
    } catch (thrown) {
      this.#options.link.send(resetFrame(id, AppError.from(thrown, 'BUG')));
    }
  }

  #ensureConnections(): Connections {
    if (this.#ended !== null) throw this.#ended;
    if (this.#connections !== null) return this.#connections;
    const { target, link, limits } = this.#options;
    const handle = TargetHandle.open(target, () => this.#onTargetEnded());
    try {
      assertNetworkNamespace(handle.namespaceFd);
    } catch (thrown) {
      handle.close();
      throw thrown;
    }
    const { namespaceFd, rootFd } = handle;
    const denyList = this.#options.denyList(handle);
    this.#handle = handle;
    this.#connections = new Connections({ downlink: new Downlink(link), namespaceFd, rootFd, denyList, limits });
    return this.#connections;
  }

  #onTargetEnded(): void {
    if (this.#isClosing) return;
    const { pid } = this.#options.target;
    this.#ended = new AppError('TARGET_GONE', `process ${pid} has ended`, { errno: 100 });
    this.#connections?.resetAll(new AppError('TARGET_GONE', this.#ended.message, { errno: 104 }));
    this.#release();
  }

  async #close(): Promise<void> {
    this.#isClosing = true;
    await this.#connections?.close();
    this.#release();
    this.#options.onClosed();
  }

  #release(): void {
    const lostDatagrams = this.#connections?.lostDatagrams ?? 0;
    if (lostDatagrams > 0) this.#options.logger.info({ lostDatagrams }, 'datagrams lost');
    this.#connections = null;
    this.#handle?.close();
    this.#handle = null;
  }
}
