// The fs-env process. Everything with an effect on import is here.

import { runService } from '#runtime/service-main.ts';
import { integer } from '#runtime/settings.ts';
import { openFsEnv } from './server.ts';

process.exitCode = await runService({
  service: 'fs-env',
  settings: {
    maxFileHandles: integer('MIRRORD_MAX_FILE_HANDLES', { min: 1, max: 100_000, fallback: 1_024 }),
    maxRequests: integer('MIRRORD_MAX_REQUESTS', { min: 1, max: 10_000, fallback: 256 }),
  },
  open: ({ listen, sessionKey, maxSessions, maxFileHandles, maxRequests }, logger) =>
    openFsEnv({
      address: listen,
      sessionKey,
      maxSessions,
      limits: { fileHandles: maxFileHandles, requests: maxRequests },
      logger,
    }),
});
// Threads that hang in a file system, and sockets that a peer holds open, must not keep us.
process.exit();
