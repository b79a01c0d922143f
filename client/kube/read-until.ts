// The answers of a proxy, byte by byte: what follows them belongs to somebody else.

import type { Socket } from 'node:net';

/** Reads until `end` tells how many bytes belong to the answer; what follows them goes back into the socket. */
export function readUntil(socket: Socket, signal: AbortSignal, end: (bytes: Buffer) => number | null): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let bytes: Buffer = Buffer.alloc(0);
    const done = (settle: () => void) => {
      socket.off('readable', onReadable).off('error', onError).off('end', onEnd).off('close', onEnd);
      signal.removeEventListener('abort', onAbort);
      settle();
    };
    const onError = (error: Error) => done(() => reject(error));
    const onEnd = () => onError(new Error('the proxy closed the connection'));
    const onAbort = () => onError(new Error('given up'));
    const onReadable = () => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        bytes = Buffer.concat([bytes, chunk]);
        try {
          const length = end(bytes);
          if (length === null) continue;
          const rest = bytes.subarray(length);
          const answer = bytes.subarray(0, length);
          done(() => resolve(answer));
          if (rest.length > 0) socket.unshift(rest);
          return;
        } catch (error) {
          return onError(error as Error);
        }
      }
    };
    socket.on('readable', onReadable).once('error', onError).once('end', onEnd).once('close', onEnd);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else onReadable();
  });
}
