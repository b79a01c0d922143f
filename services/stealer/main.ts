// The stealer process. Everything with an effect on import is here.

import { WAYS } from '#runtime/redirect-ways.ts';
import { runService } from '#runtime/service-main.ts';
import { oneOf } from '#runtime/settings.ts';
import { openStealer } from './server.ts';

const SETTINGS = {
  /** How connections are redirected; `auto` takes sk_lookup where it can. */
  redirect: oneOf('MIRRORD_STEALER_REDIRECT', WAYS, 'auto'),
};

process.exitCode = await runService({
  service: 'stealer',
  settings: SETTINGS,
  open: ({ listen, sessionKey, maxSessions, redirect }, logger) =>
    openStealer({ address: listen, sessionKey, maxSessions, redirect, logger }),
});
// Sockets that a peer holds open must not keep us: the kernel gives the ports back at once.
process.exit();
