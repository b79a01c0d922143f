// The thread that lives in a target's network namespace. Enters it before anything else, then serves the sessions of that
// target until the main thread ends it. Everything with an effect on import is here.

import { parentPort, workerData } from 'node:worker_threads';
import { AppError } from '#proto/errors.ts';
import { enterNetworkNamespace } from '#runtime/netns.ts';
import { DenyList } from './deny-list.ts';
import type { AttachSession, WorkerReport, WorkerStart } from './worker-messages.ts';
import { WorkerSession } from './worker-session.ts';

const { namespaceFd, denyList: settings } = workerData as WorkerStart;

function report(message: WorkerReport): void {
  parentPort?.postMessage(message);
}

try {
  enterNetworkNamespace(namespaceFd);
  const denyList = new DenyList(settings);
  const sessions = new Set<WorkerSession>();
  parentPort?.on('message', ({ port, rootFd, limits }: AttachSession) => {
    const session: WorkerSession = new WorkerSession({
      port,
      rootFd,
      denyList,
      limits,
      onClosed: () => sessions.delete(session),
    });
    sessions.add(session);
  });
  report({ kind: 'entered' });
} catch (thrown) {
  const error = AppError.from(thrown, 'BUG');
  report({ kind: 'failed', message: error.message, errno: error.errno });
}
