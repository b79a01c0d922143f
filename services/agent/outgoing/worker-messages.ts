// What the main thread and the worker in a target's namespace say to each other besides frames.

import type { MessagePort } from 'node:worker_threads';
import type { DenyListSettings } from './deny-list.ts';

/** `workerData`: what holds for every session of the namespace. */
export interface WorkerStart {
  /** Of `/proc/PID/ns/net`; the main thread closes it once the worker has entered. */
  readonly namespaceFd: number;
  readonly denyList: DenyListSettings;
}

export interface SessionLimits {
  /** Connections and sockets open at a time, those included that are still being closed. */
  readonly connections: number;
  /** Most a dial may take. */
  readonly dialMs: number;
  /** Silence after which a UDP socket ends. */
  readonly datagramIdleMs: number;
}

/** To the worker. The session ends when its port closes. */
export interface AttachSession {
  readonly kind: 'attach';
  readonly port: MessagePort;
  /** Folder descriptor (O_PATH) of the target's root; the main thread closes it after the session. */
  readonly rootFd: number;
  readonly limits: SessionLimits;
}

/** From the worker. After `failed` it ends. */
export type WorkerReport =
  | { readonly kind: 'entered' }
  | { readonly kind: 'failed'; readonly message: string; readonly errno: number };

/**
 * Bytes on their way from the worker to the main thread that the session's stream has not taken yet: well under the
 * stream's own limit, and enough that the worker reads while the stream writes.
 */
export const WINDOW_BYTES = 1024 * 1024;
