// Who serves what on a node, over the bus: announcing oneself, and looking others up (the protocol is described at
// proto/subjects.ts).

import { randomBytes } from 'node:crypto';
import { AppError } from '#proto/errors.ts';
import { ServiceAnnouncement } from '#proto/gen/v1/event.ts';
import {
  ANNOUNCE_EVERY_MS,
  type ServiceName,
  serviceDown,
  serviceLookup,
  serviceProtocol,
  serviceStats,
  serviceUp,
} from '#proto/subjects.ts';
import type { Bus } from './bus.ts';

export interface AnnounceOptions {
  service: ServiceName;
  node: string;
  /** As dial takes it: `unix:/path` or `host:port`. */
  address: string;
  version: string;
  /** What it has done so far, in numbers. */
  stats?: (() => Readonly<Record<string, number>>) | undefined;
}

export interface Announced {
  readonly announcement: ServiceAnnouncement;
  /** Says goodbye and stops answering; before the bus is closed. */
  close(): void;
}

/** Resolves when the server knows that we answer: a lookup after that finds us. */
export async function announceService(bus: Bus, { stats, ...options }: AnnounceOptions): Promise<Announced> {
  const announcement: ServiceAnnouncement = {
    ...options,
    instance: randomBytes(11).toString('hex'),
    pid: process.pid,
  };
  const payload = ServiceAnnouncement.encode(announcement).finish();
  const publish = () => bus.publish(serviceUp(options.node, options.service), payload);
  const endings = [
    bus.respond(serviceLookup(options.node, options.service), () => payload),
    ...(stats === undefined
      ? []
      : [bus.respond(serviceStats(options.node, options.service), () => Buffer.from(JSON.stringify(stats())))]),
    ...answerServiceProtocol(bus, announcement),
    bus.onStatus((status) => {
      if (status === 'connected') publish();
    }),
  ];
  const timer = setInterval(publish, ANNOUNCE_EVERY_MS);
  timer.unref();
  publish();
  await bus.flush();
  return {
    announcement,
    close: () => {
      clearInterval(timer);
      for (const end of endings) end();
      bus.publish(serviceDown(options.node, options.service), payload);
    },
  };
}

/** Throws SERVICE_UNAVAILABLE when the service is not there. */
export async function lookupService(
  bus: Bus,
  node: string,
  service: ServiceName,
  timeoutMs: number,
): Promise<ServiceAnnouncement> {
  try {
    return ServiceAnnouncement.decode(await bus.request(serviceLookup(node, service), new Uint8Array(0), timeoutMs));
  } catch (cause) {
    const { code, message } = AppError.from(cause, 'PROTOCOL_VIOLATION');
    throw new AppError('SERVICE_UNAVAILABLE', `${service} of node ${node} is not there: ${message}`, {
      cause,
      data: { code },
    });
  }
}

/** What a service has done so far; null when it is not there, counts nothing or does not answer in time. */
export async function askStats(
  bus: Bus,
  node: string,
  service: ServiceName,
  timeoutMs: number,
): Promise<Readonly<Record<string, unknown>> | null> {
  try {
    const answer = await bus.request(serviceStats(node, service), new Uint8Array(0), timeoutMs);
    return Object(JSON.parse(Buffer.from(answer).toString('utf8')));
  } catch {
    return null;
  }
}

/** Told when a service comes or says goodbye. Returns the function that ends it. */
export function watchService(
  bus: Bus,
  node: string,
  service: ServiceName,
  handlers: { onUp(announcement: ServiceAnnouncement): void; onDown(announcement: ServiceAnnouncement): void },
): () => void {
  const endings = [
    bus.subscribe(serviceUp(node, service), (payload) => handlers.onUp(ServiceAnnouncement.decode(payload))),
    bus.subscribe(serviceDown(node, service), (payload) => handlers.onDown(ServiceAnnouncement.decode(payload))),
  ];
  return () => {
    for (const end of endings) end();
  };
}

/**
 * PING, INFO and STATS of the NATS services protocol (ADR-32), so that `nats micro` sees us. Written here because the
 * library's own package of it has no release yet.
 */
function answerServiceProtocol(bus: Bus, announcement: ServiceAnnouncement): (() => void)[] {
  const name = `mirrord-${announcement.service}`;
  const identity = {
    name,
    id: announcement.instance,
    version: announcement.version,
    metadata: { node: announcement.node },
  };
  const started = new Date().toISOString();
  const prefix = 'io.nats.micro.v1';
  const answers = {
    PING: () => ({ type: `${prefix}.ping_response`, ...identity }),
    INFO: () => ({ type: `${prefix}.info_response`, ...identity, description: 'sessions by gRPC', endpoints: [] }),
    STATS: () => ({ type: `${prefix}.stats_response`, ...identity, started, endpoints: [] }),
  } as const;
  return (['PING', 'INFO', 'STATS'] as const).flatMap((verb) =>
    serviceProtocol(verb, name, announcement.instance).map((subject) =>
      bus.respond(subject, () => Buffer.from(JSON.stringify(answers[verb]()))),
    ),
  );
}
