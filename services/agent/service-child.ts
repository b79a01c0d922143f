// The other services as children of the agent, where nothing else starts them: a bundle beside ours, with our settings.

import path from 'node:path';
import type { Logger } from 'pino';
import type { ServiceName } from '#proto/subjects.ts';
import { Child } from './child.ts';

export interface ServiceChildOptions {
  service: ServiceName;
  /** Our own bundle; the service's stands beside it. */
  mainPath: string;
  /** NATS address and node name as we resolved them, on top of our environment. */
  settings: Readonly<Record<string, string>>;
  logger: Logger;
}

export function serviceBundle(mainPath: string, service: ServiceName): string {
  return path.join(path.dirname(mainPath), `${service}.js`);
}

export function startService({ service, mainPath, settings, logger }: ServiceChildOptions): Child {
  return new Child({
    name: service,
    command: process.execPath,
    args: [serviceBundle(mainPath, service)],
    env: { ...process.env, ...settings, MIRRORD_EXIT_WITH_PARENT: '1' },
    logger,
  });
}
