// The agent process: settings, NATS, services, gateway, in this order; and back when it ends. Everything with an effect on
// import is here.

import { mkdirSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { AppError, ERRORS } from '#proto/errors.ts';
import { LOST_AFTER_MS } from '#proto/liveness.ts';
import type { ServiceName } from '#proto/subjects.ts';
import { VERSION } from '#proto/version.ts';
import { Bus } from '#runtime/bus.ts';
import { lookupService } from '#runtime/discovery.ts';
import { createLogger, LOG_LEVELS } from '#runtime/logger.ts';
import {
  flag,
  integer,
  listOf,
  oneOf,
  optionalText,
  readSettings,
  type SettingsOf,
  sessionKey,
  text,
} from '#runtime/settings.ts';
import { Shutdown } from '#runtime/shutdown.ts';
import { openGateway } from './gateway.ts';
import { startNats } from './nats-child.ts';
import { DEFAULT_LIMITS, Outgoing } from './outgoing/outgoing.ts';
import { addresses, grants } from './outgoing/settings.ts';
import { startService } from './service-child.ts';
import { Sessions } from './sessions.ts';

const SETTINGS = {
  /** `unix:/path` or `127.0.0.1:PORT`. */
  gatewayListen: text('MIRRORD_GATEWAY_LISTEN'),
  /** Without it a nats-server is started as a child. */
  natsUrl: optionalText('MIRRORD_NATS_URL'),
  sessionKey: sessionKey('MIRRORD_SESSION_KEY_FILE'),
  /** Sockets of the node's services and the child nats-server's configuration; made with mode 0700. */
  runtimeDir: text('MIRRORD_RUNTIME_DIR'),
  /** Services to start as children, for an agent that is alone on its machine. */
  withServices: listOf('MIRRORD_WITH_SERVICES', ['fs-env', 'sniffer', 'stealer']),
  nodeName: text('MIRRORD_NODE_NAME', hostname()),
  logLevel: oneOf('MIRRORD_LOG_LEVEL', LOG_LEVELS, 'info'),
  logFile: optionalText('MIRRORD_LOG_FILE'),
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
const SERVICE_DEADLINE_MS = 10_000;
const SESSION_OPENING_MS = 10_000;
const SESSION_DRAINING_MS = 4_000;

async function start(settings: Settings, logger: Logger, shutdown: Shutdown): Promise<string> {
  openRuntimeDir(settings.runtimeDir);
  const natsUrl = settings.natsUrl ?? (await startOwnNats(settings, logger, shutdown));
  const bus = await Bus.connect({ url: natsUrl, name: 'mirrord-agent', deadlineMs: NATS_DEADLINE_MS, logger });
  shutdown.onClose('nats connection', () => bus.close());
  for (const service of settings.withServices) {
    const child = startService({
      service,
      mainPath: process.argv[1] ?? '',
      settings: { MIRRORD_NATS_URL: natsUrl, MIRRORD_NODE_NAME: settings.nodeName },
      logger,
    });
    shutdown.onClose(service, () => child.close());
  }
  await Promise.all(settings.withServices.map((service) => serviceIsThere(bus, settings.nodeName, service)));
  const outgoing = new Outgoing({
    allow: settings.outgoingAllow,
    nodeAddresses: settings.nodeAddresses,
    limits: { ...DEFAULT_LIMITS, connections: settings.maxConnections },
    logger,
  });
  shutdown.onClose('target networks', () => outgoing.close());
  const sessions = new Sessions({
    outgoing,
    bus,
    node: settings.nodeName,
    sessionKey: settings.sessionKey,
    limits: {
      fileHandles: settings.maxFileHandles,
      requests: settings.maxRequests,
      openingDeadlineMs: SESSION_OPENING_MS,
      drainingDeadlineMs: SESSION_DRAINING_MS,
    },
    logger,
  });
  const gateway = await openGateway({
    address: settings.gatewayListen,
    sessionKey: settings.sessionKey,
    maxSessions: settings.maxSessions,
    clientLostAfterMs: settings.clientLostAfterMs,
    graceMs: settings.sessionGraceMs,
    sessions,
    logger,
  });
  shutdown.onClose('gateway', () => gateway.close());
  shutdown.onClose('sessions', () => sessions.close());
  return gateway.address;
}

async function startOwnNats(settings: Settings, logger: Logger, shutdown: Shutdown): Promise<string> {
  const nats = await startNats(settings.runtimeDir, logger);
  shutdown.onClose('nats-server', () => nats.close());
  return nats.url;
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
    const shutdown = new Shutdown({ logger, exitWithParent: settings.exitWithParent });
    try {
      const gateway = await Promise.race([start(settings, logger, shutdown), startAborted(shutdown.signal)]);
      process.stdout.write(`${JSON.stringify({ ready: true, gateway, version: VERSION })}\n`);
      logger.info({ gateway, version: VERSION }, 'ready');
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
