// Where one session's frames about incoming traffic go: to the sniffer or the stealer, by the mode of the subscription and
// by the id of the connection. Each is attached when it is first wanted.

import type { Logger } from 'pino';
import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import type { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { IncomingMode, Subscribe } from '#proto/gen/v1/incoming.ts';
import { SessionEvent } from '#proto/gen/v1/session.ts';
import { type IncomingService, incomingServiceOf } from '#proto/incoming.ts';
import { decodeHead } from '#proto/session-stream.ts';
import { ServiceLink, type ServiceLinkOptions } from './service-link.ts';

export type IncomingWorld = Pick<ServiceLinkOptions, 'client' | 'find' | 'mintToken'>;

export interface IncomingSessionOptions extends IncomingWorld {
  readonly attach: AttachTarget;
  readonly logger: Logger;
}

export class IncomingSession {
  readonly #options: IncomingSessionOptions;
  readonly #links: Readonly<Record<IncomingService, ServiceLink>>;

  constructor(options: IncomingSessionOptions) {
    this.#options = options;
    this.#links = { sniffer: this.#link('sniffer'), stealer: this.#link('stealer') };
  }

  /** Of the client: what is about a subscription or a connection that arrived. */
  handle(frame: Frame): void | Promise<void> {
    if (frame.kind === FrameKind.FRAME_KIND_SUBSCRIBE) {
      this.#subscribe(frame);
      return undefined;
    }
    const service = incomingServiceOf(frame.id);
    if (service !== null) return this.#links[service].forward(frame);
    const link = Object.values(this.#links).find((one) => one.has(frame.id));
    return link?.forward(frame);
  }

  /** While nobody hears us nothing may be stolen for him: the target answers, until the client is back. */
  park(isParked: boolean): void {
    if (isParked) this.#links.stealer.suspend();
    else this.#links.stealer.resume();
  }

  close(): void {
    for (const link of Object.values(this.#links)) link.close();
  }

  #subscribe(frame: Frame): void {
    const isTaken = Object.values(this.#links).some((link) => link.has(frame.id));
    if (frame.id % 2 === 0 || isTaken) {
      throw new AppError('PROTOCOL_VIOLATION', `subscription ${frame.id}, which is not free for a client`);
    }
    switch (decodeHead(Subscribe.decode, frame.head).mode) {
      case IncomingMode.INCOMING_MODE_MIRROR:
        this.#links.sniffer.subscribe(frame);
        return;
      case IncomingMode.INCOMING_MODE_STEAL:
        this.#links.stealer.subscribe(frame);
        return;
      default: {
        const error = new AppError('UNSUPPORTED', 'a subscription that neither mirrors nor steals');
        const head = ErrorDetail.encode(toErrorDetail(error)).finish();
        this.#options.client.send(makeFrame(frame.id, FrameKind.FRAME_KIND_ERROR, head));
      }
    }
  }

  #link(service: IncomingService): ServiceLink {
    const { attach, client, find, mintToken, logger } = this.#options;
    return new ServiceLink({
      service,
      attach,
      client,
      find,
      mintToken,
      onAttached: (_, { method, notes }) => logger.info({ service, method, notes }, 'service attached'),
      onLost: (_, error) => {
        logger.warn({ service, code: error.code }, 'service lost');
        this.#tell({ $case: 'serviceLost', value: { service, error: toErrorDetail(error) } });
      },
      onBack: () => {
        logger.info({ service }, 'service is back');
        this.#tell({ $case: 'serviceBack', value: { service, filesLost: [] } });
      },
    });
  }

  #tell(event: NonNullable<SessionEvent['event']>): void {
    const head = SessionEvent.encode({ event }).finish();
    this.#options.client.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_EVENT, head));
  }
}
