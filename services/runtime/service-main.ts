// A service of a node as a process: settings, socket, registration on NATS, in this order, and back when it ends. What the
// services differ in (the server, settings of its own) is given.

import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { AppError, ERRORS } from '#proto/errors.ts';
import type { ServiceName } from '#proto/subjects.ts';
import { VERSION } from '#proto/version.ts';
import { Bus } from './bus.ts';
import { announceService } from './discovery.ts';
import { createLogger, LOG_LEVELS } from './logger.ts';
import type { SessionServer } from './rpc.ts';
import {
  flag,
  integer,
  oneOf,
  optionalText,
  type Reader,
  readSettings,
  type SettingsOf,
  sessionKey,
  text,
} from './settings.ts';
import { Shutdown } from './shutdown.ts';

const NATS_DEADLINE_MS = 10_000;

/** Settings that every service has. */
function commonSettings(service: ServiceName) {
  const prefix = `MIRRORD_${service.toUpperCase().replace('-', '_')}`;
  return {
    /** Path of a unix socket; by default `SERVICE.sock` in the agent's MIRRORD_RUNTIME_DIR. */
    listen: listenAddress(`${prefix}_LISTEN`, 'MIRRORD_RUNTIME_DIR', `${service}.sock`),
    natsUrl: text('MIRRORD_NATS_URL'),
    sessionKey: sessionKey('MIRRORD_SESSION_KEY_FILE'),
    nodeName: text('MIRRORD_NODE_NAME', hostname()),
    logLevel: oneOf('MIRRORD_LOG_LEVEL', LOG_LEVELS, 'info'),
    logFile: optionalText('MIRRORD_LOG_FILE'),
    exitWithParent: flag('MIRRORD_EXIT_WITH_PARENT'),
    maxSessions: integer('MIRRORD_MAX_SESSIONS', { min: 1, max: 10_000, fallback: 64 }),
  };
}

export type CommonSettings = SettingsOf<ReturnType<typeof commonSettings>>;

function listenAddress(name: string, folderName: string, file: string): Reader<string> {
  return (environment) => {
    const folder = optionalText(folderName)(environment);
    const path = text(name, folder === null ? undefined : `${folder}/${file}`)(environment);
    return path.startsWith('unix:') ? path : `unix:${path}`;
  };
}

export type ServiceServer = SessionServer &
  Readonly<{
    /** What it has done. */
    stats?: () => Readonly<Record<string, number>>;
    /** Before anybody is told where it serves. */
    useBus?: (bus: Bus) => Promise<void>;
    /** Before `close`: what others have on its way through it comes to its end, within a second or two. */
    retire?: () => Promise<void>;
  }>;

export type ServiceOptions<Own extends Record<string, Reader<unknown>>> = Readonly<{
  service: ServiceName;
  /** On top of the common ones. */
  settings: Own;
  open: (settings: CommonSettings & SettingsOf<Own>, logger: Logger) => Promise<ServiceServer>;
}>;

/** Runs until it is told to end. @returns the exit code; an error has been said on the log, or on stderr before there was one */
export async function runService<Own extends Record<string, Reader<unknown>>>(
  options: ServiceOptions<Own>,
): Promise<number> {
  const { service } = options;
  let logger: Logger | null = null;
  try {
    const common = readSettings(process.env, commonSettings(service));
    const settings = { ...common, ...readSettings(process.env, options.settings) };
    logger = createLogger(service, settings);
    const shutdown = new Shutdown({ logger, exitWithParent: settings.exitWithParent });
    try {
      const starting = start(service, common, shutdown, logger, options.open(settings, logger));
      const address = await Promise.race([starting, startAborted(shutdown.signal)]);
      process.stdout.write(`${JSON.stringify({ ready: true, address, version: VERSION })}\n`);
      logger.info({ address, version: VERSION, sinceStartMs: Math.round(performance.now()) }, 'ready');
      return await shutdown.run();
    } catch (error) {
      await shutdown.closeAll();
      throw error;
    }
  } catch (thrown) {
    const error = AppError.from(thrown, 'BUG');
    if (logger === null) process.stderr.write(`${service}: ${error.message}\n`);
    else logger.fatal({ err: error }, 'cannot start');
    return ERRORS[error.code].exitCode;
  }
}

async function start(
  service: ServiceName,
  settings: CommonSettings,
  shutdown: Shutdown,
  logger: Logger,
  opening: Promise<ServiceServer>,
): Promise<string> {
  const server = await opening;
  shutdown.onClose('server', () => server.close());
  shutdown.onClose('what passes through', () => server.retire?.());
  const bus = await Bus.connect({
    url: settings.natsUrl,
    name: `mirrord-${service}`,
    deadlineMs: NATS_DEADLINE_MS,
    logger,
  });
  shutdown.onClose('nats connection', () => bus.close());
  await server.useBus?.(bus);
  const announced = await announceService(bus, {
    service,
    node: settings.nodeName,
    address: server.address,
    version: VERSION,
    stats: server.stats,
  });
  shutdown.onClose('registration', () => announced.close());
  return server.address;
}

function startAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () =>
      reject(new AppError('CANCELLED', `stopped while starting: ${signal.reason}`)),
    );
  });
}
