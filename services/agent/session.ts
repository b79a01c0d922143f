// One client's session: opening -> ready -> draining -> closed. Resolves the target, attaches the services the client asked
// for, and routes frames to them by kind.
//
// It ends by one of: SESSION_CLOSE of the client; a client that vanishes or violates the protocol (the stream tells); the
// opening failing or taking too long; the agent shutting down. In every one `#become('closed')` releases everything.

import type { Logger } from 'pino';
import { SESSION_CREDIT_BYTES } from '#proto/credits.ts';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { type DirectDoor, OpenSession, SessionEvent, SessionOpened, type TargetFacts } from '#proto/gen/v1/session.ts';
import { type IncomingService, incomingServiceOf } from '#proto/incoming.ts';
import { decodeHead, type SessionHandlers, type SessionStream } from '#proto/session-stream.ts';
import { PROTOCOL_VERSION, VERSION } from '#proto/version.ts';
import type { TargetIdentity } from '#runtime/target-handle.ts';
import { IncomingSession } from './incoming/incoming-session.ts';
import type { OutgoingLink } from './outgoing/downlink.ts';
import type { OutgoingSession } from './outgoing/outgoing-session.ts';
import { FileRelay } from './relay.ts';
import { type ResolvedTarget, resolveTarget, targetText } from './target.ts';

export type SessionState = 'opening' | 'ready' | 'draining' | 'closed';

export interface SessionLimits {
  readonly fileHandles: number;
  readonly requests: number;
  readonly openingDeadlineMs: number;
  readonly drainingDeadlineMs: number;
}

export interface SessionWorld {
  readonly logger: Logger;
  readonly limits: SessionLimits;
  /** Where fs-env serves. Rejects with SERVICE_UNAVAILABLE. */
  findFsEnv(): Promise<string>;
  /** For the stream of this session to a service of the node, and what the service answers it with. */
  mintToken(sessionId: string): { token: string; proof: string };
  /** Another way to us, where there is one. */
  readonly direct: DirectDoor | undefined;
  /** Opens nothing yet: the first connection does. */
  openNetwork(target: TargetIdentity, link: OutgoingLink): OutgoingSession;
  /** Where a service of incoming traffic serves. Rejects with SERVICE_UNAVAILABLE. */
  findIncoming(service: IncomingService): Promise<string>;
  onOpened(session: Session, opening: OpenSession): void;
  onClosed(session: Session, error: AppError | null): void;
}

/** The user is told so many by name. */
const MAX_PATHS_TOLD = 8;

export class Session implements SessionHandlers {
  readonly sessionId: string;
  readonly #stream: SessionStream;
  readonly #world: SessionWorld;
  readonly #logger: Logger;
  #state: SessionState = 'opening';
  #isOpenAsked = false;
  #files: FileRelay | null = null;
  #network: OutgoingSession | null = null;
  #incoming: IncomingSession | null = null;
  #deadline: NodeJS.Timeout | undefined;

  constructor(sessionId: string, stream: SessionStream, world: SessionWorld) {
    this.sessionId = sessionId;
    this.#stream = stream;
    this.#world = world;
    this.#logger = world.logger.child({ session: sessionId });
    this.#startDeadline(world.limits.openingDeadlineMs, 'the session was not open within');
  }

  get state(): SessionState {
    return this.#state;
  }

  onFrame(frame: Frame): void | Promise<void> {
    if (this.#state === 'opening') return this.#receiveOpening(frame);
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_FILE_REQUEST:
        return this.#forwardFile(frame);
      case FrameKind.FRAME_KIND_CANCEL:
        return this.#files?.isInFlight(frame.id) ? this.#files.forward(frame) : undefined;
      case FrameKind.FRAME_KIND_CONNECT:
      case FrameKind.FRAME_KIND_DATA:
      case FrameKind.FRAME_KIND_HALF_CLOSE:
      case FrameKind.FRAME_KIND_RESET:
      case FrameKind.FRAME_KIND_CREDIT:
        if (incomingServiceOf(frame.id) !== null) return this.#incoming?.handle(frame);
        this.#forwardNetwork(frame);
        return undefined;
      case FrameKind.FRAME_KIND_SUBSCRIBE:
      case FrameKind.FRAME_KIND_UNSUBSCRIBE:
      case FrameKind.FRAME_KIND_RENEW:
        return this.#forwardIncoming(frame);
      case FrameKind.FRAME_KIND_SESSION_CLOSE:
        this.close();
        return undefined;
      default:
        this.#answer(frame.id, new AppError('UNSUPPORTED', `frames of kind ${frame.kind} are not served here`));
        return undefined;
    }
  }

  onClosed(error: AppError | null): void {
    this.#become('closed', error);
  }

  onParked(isParked: boolean): void {
    this.#incoming?.park(isParked);
  }

  /** Answers what is in flight, within a deadline, then says goodbye. Idempotent. */
  close(): void {
    if (this.#state === 'opening') this.#stream.fail(new AppError('CANCELLED', 'closed before it was open'));
    else if (this.#state === 'ready') this.#become('draining');
  }

  #become(next: SessionState, error: AppError | null = null): void {
    if (this.#state === 'closed' || this.#state === next) return;
    const former = this.#state;
    this.#state = next;
    clearTimeout(this.#deadline);
    this.#logger.debug({ former, state: next }, 'session state');
    switch (next) {
      case 'ready':
        return;
      case 'draining':
        this.#startDeadline(this.#world.limits.drainingDeadlineMs, 'requests were still in flight after');
        this.#drainNetwork();
        this.#sayGoodbyeWhenIdle();
        return;
      case 'closed':
        this.#files?.close();
        this.#incoming?.close();
        this.#drainNetwork();
        this.#world.onClosed(this, error);
    }
  }

  #receiveOpening(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_SESSION_CLOSE && frame.id === 0) {
      this.close();
      return;
    }
    if (frame.kind !== FrameKind.FRAME_KIND_SESSION_OPEN || frame.id !== 0 || this.#isOpenAsked) {
      throw new AppError('PROTOCOL_VIOLATION', `frame of kind ${frame.kind} before the session was open`);
    }
    this.#isOpenAsked = true;
    const opening = decodeHead(OpenSession.decode, frame.head);
    this.#open(opening).catch((thrown: unknown) => {
      const error = AppError.from(thrown, 'BUG');
      this.#logger.info({ target: targetText(opening.target), code: error.code }, 'session could not be opened');
      this.#stream.fail(error);
    });
  }

  async #open(opening: OpenSession): Promise<void> {
    if (opening.protocolVersion !== PROTOCOL_VERSION) {
      const versions = `client speaks version ${opening.protocolVersion}, this agent version ${PROTOCOL_VERSION}`;
      throw new AppError('UNSUPPORTED', `${versions} of the protocol`);
    }
    const target = resolveTarget(opening.target);
    const facts = await this.#attach(opening, target);
    if (this.#state !== 'opening') {
      this.#files?.close();
      return;
    }
    if (opening.wantsNetwork) this.#network = this.#world.openNetwork(target, this.#stream);
    if (opening.wantsIncoming) this.#incoming = this.#openIncoming(target);
    const { limits } = this.#world;
    const opened = SessionOpened.encode({
      sessionId: this.sessionId,
      agentVersion: VERSION,
      facts,
      direct: this.#world.direct,
      limits: {
        fileHandles: limits.fileHandles,
        requests: limits.requests,
        uplinkBytes: SESSION_CREDIT_BYTES,
        downlinkBytes: SESSION_CREDIT_BYTES,
      },
    }).finish();
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPENED, opened));
    this.#become('ready');
    this.#world.onOpened(this, opening);
  }

  /** Facts that need no file of the target are known here; the rest is fs-env's. */
  async #attach(opening: OpenSession, target: ResolvedTarget): Promise<TargetFacts> {
    const { pid, startTimeTicks, containerId } = target;
    if (!opening.wantsEnvironment && !opening.wantsFiles) {
      const none = Buffer.alloc(0);
      return { pid, startTimeTicks, containerId, environment: [], resolvConf: none, hosts: none, hostname: none };
    }
    const { limits } = this.#world;
    const { relay, facts } = await FileRelay.open({
      find: () => this.#world.findFsEnv(),
      mintToken: () => this.#world.mintToken(this.sessionId),
      attach: { pid, startTimeTicks, containerId, ...pickWants(opening) },
      client: this.#stream,
      maxRequests: limits.requests,
      deadlineMs: limits.openingDeadlineMs,
      onLost: (error) => this.#tellServiceLost('fs-env', error),
      onBack: (lost) => this.#tellServiceBack('fs-env', lost),
      onIdle: () => this.#sayGoodbyeWhenIdle(),
    });
    this.#files = relay;
    return facts;
  }

  #forwardFile(frame: Frame): void | Promise<void> {
    if (this.#files !== null) return this.#files.forward(frame);
    this.#answer(frame.id, new AppError('UNSUPPORTED', 'this session was opened without files'));
    return undefined;
  }

  #openIncoming({ pid, startTimeTicks, containerId }: ResolvedTarget): IncomingSession {
    return new IncomingSession({
      attach: { pid, startTimeTicks, containerId, wantsEnvironment: false, wantsFiles: false },
      client: this.#stream,
      find: (service) => this.#world.findIncoming(service),
      mintToken: () => this.#world.mintToken(this.sessionId),
      logger: this.#logger,
    });
  }

  #forwardIncoming(frame: Frame): void | Promise<void> {
    if (this.#incoming !== null) return this.#incoming.handle(frame);
    this.#answer(frame.id, new AppError('UNSUPPORTED', 'this session was opened without incoming traffic'));
    return undefined;
  }

  #forwardNetwork(frame: Frame): void {
    if (this.#network !== null) this.#network.handle(frame);
    else if (frame.kind === FrameKind.FRAME_KIND_CONNECT) {
      const error = new AppError('UNSUPPORTED', 'this session was opened without network');
      const head = ErrorDetail.encode(toErrorDetail(error)).finish();
      this.#stream.send(makeFrame(frame.id, FrameKind.FRAME_KIND_RESET, head));
    }
  }

  /** Connections send what they were given; the last of them lets the session go. */
  #drainNetwork(): void {
    const network = this.#network;
    network?.close().then(
      () => {
        this.#network = null;
        this.#sayGoodbyeWhenIdle();
      },
      (err: unknown) => this.#logger.error({ err }, 'network could not be released'),
    );
  }

  #tellServiceLost(service: string, error: AppError): void {
    this.#logger.warn({ service, code: error.code }, 'service lost');
    const event = { $case: 'serviceLost', value: { service, error: toErrorDetail(error) } } as const;
    const head = SessionEvent.encode({ event }).finish();
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_EVENT, head));
    this.#sayGoodbyeWhenIdle();
  }

  #tellServiceBack(service: string, lost: readonly Uint8Array[]): void {
    this.#logger.warn({ service, filesLost: lost.length }, 'service is back');
    const filesLost = lost.slice(0, MAX_PATHS_TOLD).map((path) => Buffer.from(path));
    const value = { service, filesLost, filesLostCount: lost.length };
    const head = SessionEvent.encode({ event: { $case: 'serviceBack', value } }).finish();
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_EVENT, head));
  }

  #sayGoodbyeWhenIdle(): void {
    if (this.#state !== 'draining' || (this.#files?.requestsInFlight ?? 0) > 0 || this.#network !== null) return;
    this.#stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_CLOSED));
    this.#stream.end();
  }

  #startDeadline(deadlineMs: number, what: string): void {
    this.#deadline = setTimeout(() => {
      this.#stream.fail(new AppError('DEADLINE_EXCEEDED', `${what} ${deadlineMs} ms`));
    }, deadlineMs);
  }

  #answer(id: number, error: AppError): void {
    const head = ErrorDetail.encode(toErrorDetail(error)).finish();
    this.#stream.send(makeFrame(id, FrameKind.FRAME_KIND_ERROR, head));
  }
}

function pickWants({ wantsEnvironment, wantsFiles }: OpenSession): { wantsEnvironment: boolean; wantsFiles: boolean } {
  return { wantsEnvironment, wantsFiles };
}
