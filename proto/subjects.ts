// Every NATS subject, built here and nowhere else. Payloads are the messages of proto/v1/event.proto.
//
// Discovery. A service of a node registers itself (services/runtime/bus.ts, `announceService`):
//   1. on start it publishes a ServiceAnnouncement on `serviceUp(node, service)` and answers every request on
//      `serviceLookup(node, service)` with the same ServiceAnnouncement;
//   2. it repeats the announcement every ANNOUNCE_EVERY_MS, so that an agent that came later or lost NATS learns of it;
//   3. on an orderly end it publishes the announcement on `serviceDown(node, service)`.
// An agent asks by request on `serviceLookup` ("no responders" means SERVICE_UNAVAILABLE at once) and listens on
// `serviceUp`/`serviceDown`. Beside that every service answers `$SRV.PING|INFO|STATS` (NATS services protocol, ADR-32), so
// `nats micro ls` lists us.

import { AppError } from './errors.ts';

const ROOT = 'mirrord.v1';

/** Services of one node that the agent routes to. */
export const SERVICES = ['fs-env', 'sniffer', 'stealer'] as const;
export type ServiceName = (typeof SERVICES)[number];

export const ANNOUNCE_EVERY_MS = 5_000;

/** Request: who serves this on the node? Reply: ServiceAnnouncement. */
export function serviceLookup(node: string, service: ServiceName): string {
  return `${ROOT}.node.${token(node)}.service.${service}.lookup`;
}

/** Request: what has it done so far? Reply: numbers by name, in JSON. Of services that count. */
export function serviceStats(node: string, service: ServiceName): string {
  return `${ROOT}.node.${token(node)}.service.${service}.stats`;
}

/** Published: a service is there (ServiceAnnouncement). */
export function serviceUp(node: string, service: ServiceName): string {
  return `${ROOT}.node.${token(node)}.service.${service}.up`;
}

/** Published: a service is about to end (ServiceAnnouncement). */
export function serviceDown(node: string, service: ServiceName): string {
  return `${ROOT}.node.${token(node)}.service.${service}.down`;
}

/** Published: SessionOpenedEvent. */
export function sessionOpened(sessionId: string): string {
  return `${ROOT}.session.${token(sessionId)}.opened`;
}

/** Published: SessionClosedEvent. */
export function sessionClosed(sessionId: string): string {
  return `${ROOT}.session.${token(sessionId)}.closed`;
}

/** Published every ANNOUNCE_EVERY_MS by an agent: AgentHeartbeat. */
export function agentHeartbeat(node: string): string {
  return `${ROOT}.node.${token(node)}.agent.heartbeat`;
}

/** The subjects of the NATS services protocol (ADR-32) one instance answers on: for all, by name, and its own. */
export function serviceProtocol(verb: 'PING' | 'INFO' | 'STATS', name: string, instance: string): string[] {
  return [`$SRV.${verb}`, `$SRV.${verb}.${name}`, `$SRV.${verb}.${name}.${instance}`];
}

/** Users of a nats-server that the agent starts are named so: each has its own inbox, closed to the others. */
export const OWN_USER = 'mirrord-';

export function inboxOf(user: string): string {
  return `_INBOX_${token(user)}`;
}

/** What a user of ours may publish and hear, beside answers to whoever asks it. */
export interface Rights {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

export function rightsOf(who: 'agent' | ServiceName): Rights {
  const inbox = `${inboxOf(`${OWN_USER}${who}`)}.>`;
  if (who === 'agent') return { publish: [`${ROOT}.>`, '$SRV.>'], subscribe: [`${ROOT}.>`, inbox] };
  const own = `${ROOT}.node.*.service.${who}`;
  const names = ['PING', 'INFO', 'STATS'].flatMap((verb) => [`$SRV.${verb}`, `$SRV.${verb}.mirrord-${who}.>`]);
  const byName = ['PING', 'INFO', 'STATS'].map((verb) => `$SRV.${verb}.mirrord-${who}`);
  return {
    publish: [`${own}.up`, `${own}.down`, ...(who === 'stealer' ? leaseSubjects() : [])],
    subscribe: [`${own}.lookup`, `${own}.stats`, ...names, ...byName, inbox],
  };
}

/**
 * Leases of stolen ports: a bucket of the key-value store that JetStream is (ADR-8), which only stealers touch. Values are JSON.
 * Keys are `portKey` and `placeKey`.
 */
export const LEASE_BUCKET = 'mirrord_leases';

/** Of a port: who has places there, which is what a claim is decided on. */
export function portKey(target: string, port: number): string {
  return `${token(target)}.${port}`;
}

/** Of one place at a port. */
export function placeKey(target: string, port: number, sessionId: string, id: number): string {
  return `${portKey(target, port)}.${token(sessionId)}.${id}`;
}

export function bucketSubject(bucket: string, key: string): string {
  return `$KV.${bucket}.${key}`;
}

export function streamRequest(verb: 'CREATE' | 'INFO' | 'MSG.GET', bucket: string): string {
  return `$JS.API.STREAM.${verb}.KV_${bucket}`;
}

function leaseSubjects(): string[] {
  const verbs = ['CREATE', 'INFO', 'MSG.GET'] as const;
  return [bucketSubject(LEASE_BUCKET, '>'), ...verbs.map((verb) => streamRequest(verb, LEASE_BUCKET))];
}

/** Host names have dots, which split subjects; anything else outside [A-Za-z0-9_-] has no business in a name. */
function token(name: string): string {
  const flat = name.replaceAll('.', '_');
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(flat)) throw new AppError('CONFIG_INVALID', `${JSON.stringify(name)} is no name`);
  return flat;
}
