// Services that the agent starts when a session first wants them, where nobody else starts them. One that starts beside us is
// waited for; one of the node's own, or that runs already, is only looked up.

import { existsSync } from 'node:fs';
import { AppError } from '#proto/errors.ts';
import type { ServiceName } from '#proto/subjects.ts';
import type { Child } from './child.ts';
import { type ServiceChildOptions, serviceBundle, startService } from './service-child.ts';
import { type Found, ServiceWatch } from './service-watch.ts';

export interface ServiceChildrenOptions extends Omit<ServiceChildOptions, 'service' | 'settings'> {
  settings(service: ServiceName): ServiceChildOptions['settings'];
  /** Those that are ours to start. */
  readonly services: readonly ServiceName[];
  /** Those that start beside us, and may not be there yet. */
  readonly besides: readonly ServiceName[];
  /** Rejects with SERVICE_UNAVAILABLE while nobody answers. */
  lookup(service: ServiceName): Promise<Found>;
}

const START_DEADLINE_MS = 10_000;
/** Containers of a pod start one after the other, on a node that may be busy. */
const BESIDE_DEADLINE_MS = 30_000;
const ASK_AGAIN_MS = 20;

export class ServiceChildren {
  readonly #options: ServiceChildrenOptions;
  readonly #children = new Map<ServiceName, Child>();
  readonly #watches = new Map<ServiceName, ServiceWatch>();
  #isClosing = false;

  constructor(options: ServiceChildrenOptions) {
    this.#options = options;
  }

  /** Where it serves, when it does: at once for one that runs, within a deadline for one that we start. */
  async find(service: ServiceName): Promise<string> {
    const { services, besides } = this.#options;
    const isOurs = services.includes(service);
    if (!isOurs && !besides.includes(service)) return (await this.#options.lookup(service)).address;
    if (isOurs) this.#start(service);
    const deadlineMs = performance.now() + (isOurs ? START_DEADLINE_MS : BESIDE_DEADLINE_MS);
    for (;;) {
      try {
        const found = await this.#options.lookup(service);
        this.#watch(service, found);
        return found.address;
      } catch (error) {
        if (this.#isClosing || performance.now() > deadlineMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
      }
    }
  }

  #watch(service: ServiceName, found: Found): void {
    if (this.#watches.has(service) || this.#isClosing) return;
    const { lookup, logger } = this.#options;
    const watch = ServiceWatch.of(found, { service, lookup: () => lookup(service), logger });
    if (watch !== null) this.#watches.set(service, watch);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    for (const watch of this.#watches.values()) watch.close();
    await Promise.all([...this.#children.values()].map((child) => child.close()));
  }

  #start(service: ServiceName): void {
    if (this.#children.has(service) || this.#isClosing) return;
    const { mainPath, settings, logger } = this.#options;
    if (!existsSync(serviceBundle(mainPath, service))) {
      throw new AppError('SERVICE_UNAVAILABLE', `this build has no ${service}`);
    }
    this.#children.set(service, startService({ service, mainPath, settings: settings(service), logger }));
  }
}
