// The captures of this node, one for each network namespace that somebody mirrors, gone with the last of them.

import type { AppError } from '#proto/errors.ts';
import type { SnifferTarget } from './target.ts';
import { type CaptureLimits, TargetCapture } from './target-capture.ts';

export interface CaptureUser {
  onCaptureFailed(error: AppError): void;
}

interface Shared {
  readonly capture: TargetCapture;
  readonly users: Set<CaptureUser>;
}

export class Captures {
  readonly #limits: CaptureLimits;
  readonly #shared = new Map<string, Shared>();

  constructor(limits: CaptureLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#shared.size;
  }

  /** `release` must follow. Throws NOT_PERMITTED, SERVICE_UNAVAILABLE. */
  acquire(target: SnifferTarget, user: CaptureUser): TargetCapture {
    const { namespaceId } = target;
    let shared = this.#shared.get(namespaceId);
    if (shared === undefined) {
      const capture = new TargetCapture(target.namespaceFd, this.#limits, (error) => this.#fail(namespaceId, error));
      shared = { capture, users: new Set() };
      this.#shared.set(namespaceId, shared);
    }
    shared.users.add(user);
    return shared.capture;
  }

  release(target: SnifferTarget, user: CaptureUser): void {
    const shared = this.#shared.get(target.namespaceId);
    if (shared === undefined || !shared.users.delete(user) || shared.users.size > 0) return;
    this.#shared.delete(target.namespaceId);
    shared.capture.close();
  }

  close(): void {
    for (const { capture } of this.#shared.values()) capture.close();
    this.#shared.clear();
  }

  #fail(namespaceId: string, error: AppError): void {
    const shared = this.#shared.get(namespaceId);
    if (shared === undefined) return;
    this.#shared.delete(namespaceId);
    for (const user of shared.users) user.onCaptureFailed(error);
    shared.capture.close();
  }
}
