// What is said first on a connection that may be TLS, looked at and left in its socket: whoever the connection goes to reads it
// from its beginning. The target is listened to as well: if it speaks first, it speaks no TLS.

import { closeSync } from 'node:fs';
import { READABLE, watchFd } from '#proto/sockets/addon.ts';
import { stealerAddon } from '../native/index.ts';
import type { Dialled } from '../redirect.ts';
import { FIRST_HEAD_MS } from '../relay/times.ts';
import { type ClientHello, MAX_HELLO_RECORD_BYTES, readClientHello } from './client-hello.ts';

/** `origin` is null when there is none (any more). */
export type FirstWords = Readonly<{ hello: ClientHello | null; origin: Dialled | null }>;

/** How long a client may be silent when nobody listens at the target, in ms: clients of TLS speak first. */
const REFUSED_HELLO_MS = 1_000;

/** One look at a time. */
const looked = Buffer.alloc(MAX_HELLO_RECORD_BYTES);

/**
 * @param clientFd stays the caller's, who leaves it alone until `onHeard`
 * @param origin the same
 * @param onHeard once, and not before this returns
 * @returns ends it, `onHeard` is not called any more
 */
export function awaitFirstWords(
  clientFd: number,
  origin: Dialled | null,
  onHeard: (words: FirstWords) => void,
  firstMs: number = FIRST_HEAD_MS,
): () => void {
  let there = origin;
  let timer: NodeJS.Timeout | undefined;
  let heard = 0;
  const polls = { client: watchFd(clientFd, onClient), origin: there === null ? null : watchFd(there.fd, onOrigin) };
  polls.client.start(READABLE);
  polls.origin?.start(READABLE);

  function stop(): void {
    clearTimeout(timer);
    polls.client.detach();
    polls.origin?.detach();
    stealerAddon().wakeAt(clientFd, 1);
  }

  function tell(hello: ClientHello | null): void {
    stop();
    onHeard({ hello, origin: there });
  }

  function onClient(status: number): void {
    const count = status < 0 ? 0 : stealerAddon().peek(clientFd, looked);
    // Its end, its failure, or nothing new: it has ended in mid-word.
    if (count <= heard) {
      tell(null);
      return;
    }
    heard = count;
    const hello = count < looked.length ? readClientHello(looked.subarray(0, count)) : 'none';
    if (hello === 'more') {
      stealerAddon().wakeAt(clientFd, count + 1);
      timer ??= setTimeout(() => tell(null), firstMs).unref();
    } else tell(hello === 'none' ? null : hello);
  }

  function onOrigin(status: number): void {
    if (there === null) return;
    if (status === 0 && stealerAddon().peek(there.fd, looked.subarray(0, 1)) > 0) {
      tell(null);
      return;
    }
    // Nobody listens there, or does not any more. What comes now may be for a session.
    polls.origin?.detach();
    polls.origin = null;
    there.onDialled();
    closeSync(there.fd);
    there = null;
    if (heard === 0) timer ??= setTimeout(() => tell(null), REFUSED_HELLO_MS).unref();
  }

  return stop;
}
