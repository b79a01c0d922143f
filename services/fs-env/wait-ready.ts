// What would wait in the target waits here: a pipe without bytes, room or, before the first of them, a writer. Files are
// opened without waiting, so that no thread of the addon is held by a pipe; it is asked again until it has something.

import { ERRNO } from '#proto/errno.ts';
import { FileReply } from '#proto/gen/v1/fs_env.ts';
import type { Answer } from './native/index.ts';

/** Of one open file. */
export interface Patience {
  /** False where the local process itself opened it without waiting. */
  readonly mayWait: boolean;
  /** A pipe without bytes that nobody has written to has not ended: its writer is still to come. */
  hasHadWriter: boolean;
}

const FIRST_WAIT_MS = 2;
const LONGEST_WAIT_MS = 64;
const TYPE_MASK = 0o170000;
const FIFO = 0o010000;

export interface Attempt {
  patience: Patience;
  /** One try, which does not wait. */
  act: () => Promise<Answer>;
  stat: () => Promise<Answer>;
  /** False once nobody can want the answer any more. */
  isWanted: () => boolean;
}

/** The first answer that is not "try again", or the last one when nobody wants it any more. */
export async function whenReady({ patience, act, stat, isWanted }: Attempt): Promise<Answer> {
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS)) {
    const answer = await act();
    if (answer.data.length > 0) patience.hasHadWriter = true;
    if (answer.data.length > 0 || !patience.mayWait) return answer;
    const { errno, result } = FileReply.decode(answer.head);
    if (errno === ERRNO.EAGAIN) patience.hasHadWriter = true;
    else if (errno !== 0 || result?.$case === 'written' || patience.hasHadWriter || !(await isPipe(stat))) {
      // Asked once: what is no pipe has its end here, and again at each look at it.
      patience.hasHadWriter = true;
      return answer;
    }
    if (!isWanted()) return answer;
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

async function isPipe(stat: () => Promise<Answer>): Promise<boolean> {
  const { result } = FileReply.decode((await stat()).head);
  return result?.$case === 'stat' && (result.value.mode & TYPE_MASK) === FIFO;
}
