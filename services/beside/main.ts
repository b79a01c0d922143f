// Starts a service in a container of its own beside the agent's, in one pod: `beside SERVICE` waits for the agent, takes its
// settings from it, becomes the service, and ends it when the agent has ended.

import { AppError } from '#proto/errors.ts';
import { beside } from './beside.ts';

try {
  await beside(process.argv, process.env);
} catch (error) {
  process.stderr.write(`beside: ${error instanceof Error ? error.message : error}\n`);
  // Without an agent there is nobody to be started anew for.
  process.exit(error instanceof AppError && error.code === 'DEADLINE_EXCEEDED' ? 0 : 1);
}
