// The sniffer process: settings, socket, registration on NATS, in this order; and back when it ends. Everything with an
// effect on import is here.

import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { AppError, ERRORS } from '#proto/errors.ts';
import { VERSION } from '#proto/version.ts';
import { Bus } from '#runtime/bus.ts';
import { CAPTURE_SETTINGS } from '#runtime/capture-settings.ts';
import { announceService } from '#runtime/discovery.ts';
import { createLogger, LOG_LEVELS } from '#runtime/logger.ts';
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
} from '#runtime/settings.ts';
import { Shutdown } from '#runtime/shutdown.ts';
import { openSniffer } from './server.ts';
import { stepBack } from './stepping-back.ts';

const SETTINGS = {
  /** Path of a unix socket; by default `sniffer.sock` in the agent's MIRRORD_RUNTIME_DIR. */
  listen: listenAddress('MIRRORD_SNIFFER_LISTEN', 'MIRRORD_RUNTIME_DIR'),
  natsUrl: text('MIRRORD_NATS_URL'),
  sessionKey: sessionKey('MIRRORD_SESSION_KEY_FILE'),
  nodeName: text('MIRRORD_NODE_NAME', hostname()),
  logLevel: oneOf('MIRRORD_LOG_LEVEL', LOG_LEVELS, 'info'),
  logFile: optionalText('MIRRORD_LOG_FILE'),
  exitWithParent: flag('MIRRORD_EXIT_WITH_PARENT'),
  maxSessions: integer('MIRRORD_MAX_SESSIONS', { min: 1, max: 10_000, fallback: 64 }),
  ...CAPTURE_SETTINGS,
};

type Settings = SettingsOf<typeof SETTINGS>;

const NATS_DEADLINE_MS = 10_000;

function listenAddress(name: string, folderName: string): Reader<string> {
  return (environment) => {
    const folder = optionalText(folderName)(environment);
    const path = text(name, folder === null ? undefined : `${folder}/sniffer.sock`)(environment);
    return path.startsWith('unix:') ? path : `unix:${path}`;
  };
}

async function start(settings: Settings, logger: Logger, shutdown: Shutdown): Promise<string> {
  const onQuestion = stepBack(settings.nice);
  const server = await openSniffer({
    address: settings.listen,
    sessionKey: settings.sessionKey,
    maxSessions: settings.maxSessions,
    limits: {
      ringBytes: settings.ringBytes,
      flows: settings.flows,
      heldBytes: settings.heldBytes,
      bulkBytesPerSecond: settings.bulkBytesPerSecond,
      filter: settings.filter,
    },
    onQuestion,
    logger,
  });
  shutdown.onClose('server', () => server.close());
  const bus = await Bus.connect({
    url: settings.natsUrl,
    name: 'mirrord-sniffer',
    deadlineMs: NATS_DEADLINE_MS,
    logger,
  });
  shutdown.onClose('nats connection', () => bus.close());
  const announced = await announceService(bus, {
    service: 'sniffer',
    node: settings.nodeName,
    address: server.address,
    version: VERSION,
  });
  shutdown.onClose('registration', () => announced.close());
  return server.address;
}

async function main(): Promise<number> {
  let logger: Logger | null = null;
  try {
    const settings = readSettings(process.env, SETTINGS);
    logger = createLogger('sniffer', settings);
    const shutdown = new Shutdown({ logger, exitWithParent: settings.exitWithParent });
    try {
      const address = await Promise.race([start(settings, logger, shutdown), startAborted(shutdown.signal)]);
      process.stdout.write(`${JSON.stringify({ ready: true, address, version: VERSION })}\n`);
      logger.info({ address, version: VERSION, sinceStartMs: Math.round(performance.now()) }, 'ready');
      return await shutdown.run();
    } catch (error) {
      await shutdown.closeAll();
      throw error;
    }
  } catch (thrown) {
    const error = AppError.from(thrown, 'BUG');
    if (logger === null) process.stderr.write(`sniffer: ${error.message}\n`);
    else logger.fatal({ err: error }, 'cannot start');
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
// Threads that hang in a file system, and sockets that a peer holds open, must not keep us.
process.exit();
