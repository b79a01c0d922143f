// The agent process: settings, NATS, services, gateway, in this order; and back when it ends. Everything with an effect on
// import is here.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import type { Logger } from 'pino';
import { directKeyOf } from '#proto/direct-tls.ts';
import { AppError, ERRORS } from '#proto/errors.ts';
import { LOST_AFTER_MS } from '#proto/liveness.ts';
import type { ServiceName } from '#proto/subjects.ts';
import { SESSION_KEY_BYTES } from '#proto/token.ts';
import { VERSION } from '#proto/version.ts';
import { Bus } from '#runtime/bus.ts';
import { CAPTURE_SETTINGS } from '#runtime/capture-settings.ts';
import { askStats, lookupService } from '#runtime/discovery.ts';
import { EarlyDoor } from '#runtime/early-door.ts';
import { createLogger, LOG_LEVELS } from '#runtime/logger.ts';
import { WAYS } from '#runtime/redirect-ways.ts';
import {
  flag,
  integer,
  listOf,
  oneOf,
  optionalPublicKey,
  optionalText,
  readSettings,
  type SettingsOf,
  sessionKey,
  text,
} from '#runtime/settings.ts';
import { Shutdown } from '#runtime/shutdown.ts';
import { openGateway } from './gateway.ts';
import { openLifeline } from './lifeline.ts';
import { Lifetime } from './lifetime.ts';
import { SessionCounts } from './metrics/counts.ts';
import { exposition } from './metrics/exposition.ts';
import { families, stealerStats } from './metrics/metrics.ts';
import { openMetrics } from './metrics/server.ts';
import { type NatsChild, startNats } from './nats-child.ts';
import { DEFAULT_LIMITS, Outgoing } from './outgoing/outgoing.ts';
import { addresses, grants } from './outgoing/settings.ts';
import { startService } from './service-child.ts';
import { ServiceChildren } from './service-children.ts';
import { Sessions } from './sessions.ts';

const SETTINGS = {
  /** `unix:/path` or `127.0.0.1:PORT`. */
  gatewayListen: text('MIRRORD_GATEWAY_LISTEN'),
  /** `host:port` for clients that reach us from other machines, in TLS with a key made from the session key; else no door. */
  directListen: optionalText('MIRRORD_DIRECT_LISTEN'),
  /** `host:port` of an endpoint for Prometheus; else none. */
  metricsListen: optionalText('MIRRORD_METRICS_LISTEN'),
  /** Without it a nats-server is started as a child. */
  natsUrl: optionalText('MIRRORD_NATS_URL'),
  /** Of the node's services, and of clients that are not known by a public key; in a pod it is made up. */
  sessionKey: (environment: NodeJS.ProcessEnv) =>
    environment['MIRRORD_CLIENT_PUBLIC_KEY'] ? null : sessionKey('MIRRORD_SESSION_KEY_FILE')(environment),
  /** Of the one client an agent in a pod is for. */
  clientKey: optionalPublicKey('MIRRORD_CLIENT_PUBLIC_KEY'),
  /** Sockets of the node's services and the child nats-server's configuration; made with mode 0700. */
  runtimeDir: text('MIRRORD_RUNTIME_DIR'),
  /** Services to start as children, for an agent that is alone on its machine. */
  withServices: listOf('MIRRORD_WITH_SERVICES', ['fs-env', 'sniffer', 'stealer']),
  /** Services in containers beside ours, in one pod (services/beside); they are waited for. */
  servicesBeside: listOf('MIRRORD_SERVICES_BESIDE', ['fs-env', 'sniffer', 'stealer']),
  /** An agent that was made for one client ends itself without one: 0 is never. */
  firstSessionMs: integer('MIRRORD_FIRST_SESSION_MS', { min: 0, max: 86_400_000, fallback: 0 }),
  idleMs: integer('MIRRORD_IDLE_MS', { min: 0, max: 86_400_000, fallback: 0 }),
  /** Those to start when a session first wants them. */
  servicesWhenWanted: listOf('MIRRORD_SERVICES_WHEN_WANTED', ['sniffer', 'stealer']),
  nodeName: text('MIRRORD_NODE_NAME', hostname()),
  logLevel: oneOf('MIRRORD_LOG_LEVEL', LOG_LEVELS, 'info'),
  logFile: optionalText('MIRRORD_LOG_FILE'),
  /** The sniffer's and the stealer's, as they are started only when they are wanted. */
  ...CAPTURE_SETTINGS,
  redirect: oneOf('MIRRORD_STEALER_REDIRECT', WAYS, 'auto'),
  /** We are in the target's pod and share its processes, so that the first of them is the target and not we. */
  isBesideTarget: flag('MIRRORD_BESIDE_TARGET'),
  exitWithParent: flag('MIRRORD_EXIT_WITH_PARENT'),
  /** Silence after which a client counts as lost. */
  clientLostAfterMs: integer('MIRRORD_CLIENT_LOST_AFTER_MS', { min: 500, max: 3_600_000, fallback: LOST_AFTER_MS }),
  /** For which a session is kept when its connections broke; over a unix socket never. */
  sessionGraceMs: integer('MIRRORD_SESSION_GRACE_MS', { min: 0, max: 3_600_000, fallback: 60_000 }),
  maxSessions: integer('MIRRORD_MAX_SESSIONS', { min: 1, max: 10_000, fallback: 64 }),
  maxFileHandles: integer('MIRRORD_MAX_FILE_HANDLES', { min: 1, max: 100_000, fallback: 1_024 }),
  maxConnections: integer('MIRRORD_MAX_CONNECTIONS', { min: 1, max: 60_000, fallback: DEFAULT_LIMITS.connections }),
  /** Addresses sessions may reach although they are the node's or the cloud's own (outgoing/deny-list.ts). */
  outgoingAllow: grants('MIRRORD_OUTGOING_ALLOW'),
  /** Of the node, where the agent is not on the node's own network. */
  nodeAddresses: addresses('MIRRORD_NODE_ADDRESSES'),
  maxRequests: integer('MIRRORD_MAX_REQUESTS', { min: 1, max: 10_000, fallback: 256 }),
};

type Settings = SettingsOf<typeof SETTINGS>;

const NATS_DEADLINE_MS = 10_000;
/** Containers beside ours start after it. */
const SERVICE_DEADLINE_MS = 30_000;
const LOOKUP_MS = 1_000;
const SESSION_OPENING_MS = 10_000;
const SESSION_DRAINING_MS = 4_000;

/** Where clients find us. */
interface Doors {
  readonly gateway: string;
  readonly direct?: string;
}

async function start(settings: Settings, logger: Logger, shutdown: Shutdown): Promise<Doors> {
  if (settings.isBesideTarget && process.pid === 1) {
    throw new AppError(
      'UNSUPPORTED',
      'the container runtime does not share the target’s processes (targetContainerName)',
    );
  }
  openRuntimeDir(settings.runtimeDir);
  // A client that comes while we start waits here, and is served at once.
  const door = await EarlyDoor.open(settings.gatewayListen);
  shutdown.onClose('door', () => door.close());
  const given = settings.natsUrl;
  const nats = given === null ? await startOwnNats(settings, logger, shutdown) : { url: given, urlOf: () => given };
  const bus = await Bus.connect({ url: nats.url, name: 'mirrord-agent', deadlineMs: NATS_DEADLINE_MS, logger });
  shutdown.onClose('nats connection', () => bus.close());
  const sessionKey = settings.sessionKey ?? (await openPod(settings, nats, shutdown));
  const childSettings = (service: ServiceName) => ({
    MIRRORD_NATS_URL: nats.urlOf(service),
    MIRRORD_NODE_NAME: settings.nodeName,
    ...(settings.sessionKey === null ? { MIRRORD_SESSION_KEY_FILE: ownKeyFile(settings) } : {}),
  });
  const mainPath = process.argv[1] ?? '';
  for (const service of settings.withServices) {
    const child = startService({ service, mainPath, settings: childSettings(service), logger });
    shutdown.onClose(service, () => child.close());
  }
  // Those of incoming traffic are waited for when a session first wants them.
  const services = [...settings.withServices, ...settings.servicesBeside].filter((name) => name === 'fs-env');
  await Promise.all(services.map((service) => serviceIsThere(bus, settings.nodeName, service)));
  const outgoing = new Outgoing({
    allow: settings.outgoingAllow,
    nodeAddresses: settings.nodeAddresses,
    limits: { ...DEFAULT_LIMITS, connections: settings.maxConnections },
    logger,
  });
  shutdown.onClose('target networks', () => outgoing.close());
  const lifetime = new Lifetime({
    firstSessionMs: settings.firstSessionMs,
    idleMs: settings.idleMs,
    onEnd: (reason) => shutdown.request(reason),
  });
  shutdown.onClose('lifetime', () => lifetime.close());
  const children = new ServiceChildren({
    services: settings.servicesWhenWanted,
    besides: [...settings.withServices, ...settings.servicesBeside],
    mainPath,
    settings: childSettings,
    lookup: (service) => lookupService(bus, settings.nodeName, service, LOOKUP_MS),
    logger,
  });
  shutdown.onClose('services that were wanted', () => children.close());
  const counts = settings.metricsListen === null ? null : new SessionCounts();
  const sessions = new Sessions({
    outgoing,
    counts,
    findIncoming: (service) => children.find(service),
    bus,
    node: settings.nodeName,
    sessionKey,
    onCount: (count) => lifetime.sessionsAre(count),
    limits: {
      fileHandles: settings.maxFileHandles,
      requests: settings.maxRequests,
      openingDeadlineMs: SESSION_OPENING_MS,
      drainingDeadlineMs: SESSION_DRAINING_MS,
    },
    logger,
  });
  if (settings.metricsListen !== null && counts !== null) {
    const text = async () =>
      exposition(
        families(counts, sessions.count, stealerStats(await askStats(bus, settings.nodeName, 'stealer', LOOKUP_MS))),
      );
    const metrics = await openMetrics(settings.metricsListen, text);
    shutdown.onClose('metrics', () => metrics.close());
    logger.info({ address: metrics.address }, 'metrics are served');
  }
  const directKey = directKeyOf(sessionKey);
  const gateway = await openGateway({
    address: settings.gatewayListen,
    door,
    admissionKey: settings.clientKey ?? sessionKey,
    maxSessions: settings.maxSessions,
    clientLostAfterMs: settings.clientLostAfterMs,
    graceMs: settings.sessionGraceMs,
    direct: settings.directListen === null ? null : { address: settings.directListen, key: directKey },
    sessions,
    logger,
  });
  sessions.offerDirect(gateway.directAddress, directKey);
  shutdown.onClose('gateway', () => gateway.close());
  shutdown.onClose('sessions', () => sessions.close());
  const { address, directAddress } = gateway;
  return directAddress === null ? { gateway: address } : { gateway: address, direct: directAddress };
}

async function startOwnNats(settings: Settings, logger: Logger, shutdown: Shutdown): Promise<NatsChild> {
  const nats = await startNats(settings.runtimeDir, logger);
  shutdown.onClose('nats-server', () => nats.close());
  return nats;
}

function ownKeyFile({ runtimeDir }: Settings): string {
  return path.join(runtimeDir, 'session.key');
}

/** The node starts containers of a pod anew. Services come back to their agent; sessions come back to nobody. */
function isSecondLife(settings: Settings): boolean {
  return settings.servicesBeside.length > 0 && settings.sessionKey === null && existsSync(ownKeyFile(settings));
}

/** A key of our own where the services beside us find it, and then the line by which they find us. */
async function openPod(settings: Settings, nats: Pick<NatsChild, 'urlOf'>, shutdown: Shutdown): Promise<Uint8Array> {
  const key = randomBytes(SESSION_KEY_BYTES);
  writeFileSync(ownKeyFile(settings), key.toString('hex'), { mode: 0o600 });
  const lifeline = await openLifeline(settings.runtimeDir, (service) => nats.urlOf(service));
  shutdown.onClose('lifeline', () => lifeline.close());
  return key;
}

/** Waits for the service's first registration: "no responders" is answered at once, so it is asked again. */
async function serviceIsThere(bus: Bus, node: string, service: ServiceName): Promise<void> {
  const deadlineMs = performance.now() + SERVICE_DEADLINE_MS;
  for (;;) {
    try {
      await lookupService(bus, node, service, 1_000);
      return;
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Throws NOT_PERMITTED when others can reach into it: sockets in it are trusted by their place. */
function openRuntimeDir(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const { mode, uid } = statSync(path);
  if ((mode & 0o077) === 0 && uid === process.geteuid?.()) return;
  throw new AppError(
    'NOT_PERMITTED',
    `${path} must be ours with mode 700, not of user ${uid} with ${mode.toString(8)}`,
  );
}

async function main(): Promise<number> {
  let logger: Logger | null = null;
  try {
    const settings = readSettings(process.env, SETTINGS);
    logger = createLogger('agent', settings);
    if (isSecondLife(settings)) {
      logger.warn('the agent of this pod has ended, and its sessions with it: it is not started anew');
      return 0;
    }
    const shutdown = new Shutdown({ logger, exitWithParent: settings.exitWithParent });
    try {
      const doors = await Promise.race([start(settings, logger, shutdown), startAborted(shutdown.signal)]);
      process.stdout.write(`${JSON.stringify({ ready: true, ...doors, version: VERSION })}\n`);
      logger.info({ ...doors, version: VERSION, sinceStartMs: Math.round(performance.now()) }, 'ready');
      return await shutdown.run();
    } catch (error) {
      await shutdown.closeAll();
      throw error;
    }
  } catch (thrown) {
    const error = AppError.from(thrown, 'BUG');
    if (logger === null) process.stderr.write(`agent: ${error.message}\n`);
    else logger.fatal({ err: error }, 'cannot start');
    process.stdout.write(`${JSON.stringify({ ready: false, code: error.code, message: error.message })}\n`);
    return ERRORS[error.code].exitCode;
  }
}

function startAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () =>
      reject(new AppError('CANCELLED', `stopped while starting: ${signal.reason}`)),
    );
  });
}

process.exitCode = await main();
// Sockets that a peer holds open must not keep us.
process.exit();
