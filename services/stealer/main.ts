// The stealer process. Everything with an effect on import is here.

import { runService } from '#runtime/service-main.ts';
import { openStealer } from './server.ts';

process.exitCode = await runService({
  service: 'stealer',
  settings: {},
  open: ({ listen, sessionKey, maxSessions }, logger) =>
    openStealer({ address: listen, sessionKey, maxSessions, logger }),
});
// Sockets that a peer holds open must not keep us: the kernel gives the ports back at once.
process.exit();
