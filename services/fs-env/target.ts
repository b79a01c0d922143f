// Attaching to a target: its process is the one that was meant, and what a session needs to know about it at its start.

import { ERRNO, errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import { MAX_HEAD_BYTES } from '#proto/frame.ts';
import type { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { TargetFacts } from '#proto/gen/v1/session.ts';
import { parseEnvironment } from './environment.ts';
import { native, type Target } from './native/index.ts';

/** Of /etc/hosts and the like; the rest of a larger one is left out. */
const FACT_BYTES = 64 * 1024;
/** The facts travel in a frame's head, to which the agent adds a little. */
const FACTS_BYTES = MAX_HEAD_BYTES - 1024;

export interface AttachedTarget {
  readonly target: Target;
  readonly facts: TargetFacts;
}

/**
 * Throws TARGET_GONE when the process has ended or its id belongs to another one, NOT_PERMITTED when the kernel refuses
 * us, LIMIT_REACHED when environment and files are too much for one answer.
 */
export async function attachTarget(request: AttachTarget): Promise<AttachedTarget> {
  const { pid, startTimeTicks, containerId, wantsEnvironment } = request;
  const attached = await native.attach(pid, startTimeTicks, wantsEnvironment ? FACTS_BYTES : 0);
  if (attached.target === null) throw refusal(pid, attached.errno, attached.step);
  const { target } = attached;
  try {
    const [resolvConf, hosts, hostname] = await Promise.all([
      readFact(target, '/etc/resolv.conf'),
      readFact(target, '/etc/hosts'),
      readFact(target, '/etc/hostname'),
    ]);
    const facts: TargetFacts = {
      pid,
      startTimeTicks: attached.startTimeTicks,
      containerId,
      environment: parseEnvironment(attached.environment),
      resolvConf,
      hosts,
      hostname,
    };
    const bytes = TargetFacts.encode(facts).finish().length;
    if (bytes > FACTS_BYTES) throw tooLarge(bytes);
    return { target, facts };
  } catch (error) {
    native.closeTarget(target);
    throw error;
  }
}

/** Empty where there is none, or none that the target may read. */
async function readFact(target: Target, path: string): Promise<Buffer> {
  const { data, file } = await native.open(target, Buffer.from(path), 0, 0, FACT_BYTES, 0, false);
  if (file === null) return data;
  const answer = await native.read(target, file, 0n, FACT_BYTES);
  native.closeFile(file);
  return answer.data;
}

function refusal(pid: number, errno: number, step: string): AppError {
  const said = `process ${pid}: ${step}: ${errnoName(errno)}`;
  if (errno === ERRNO.ESRCH) return new AppError('TARGET_GONE', `${said}: it has ended, or its id is another's`);
  if (errno === ERRNO.EACCES || errno === ERRNO.EPERM) {
    const user = process.geteuid?.();
    return new AppError('NOT_PERMITTED', `${said}: the agent, user ${user}, may not look into that process`, { errno });
  }
  if (errno === ERRNO.E2BIG) return tooLarge(FACTS_BYTES);
  return new AppError('FILE_FAILED', said, { errno });
}

function tooLarge(bytes: number): AppError {
  return new AppError('LIMIT_REACHED', `environment and network files of the target are ${bytes} bytes or more`);
}
