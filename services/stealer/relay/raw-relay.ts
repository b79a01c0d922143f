// Two endpoints joined: what one says the other hears, byte for byte, with its end and its back-pressure.

import type { Endpoint } from './endpoint.ts';

/** Nobody knows where a message ends: a pause of this behind the last bytes of `other` is one. */
const PAUSE_MS = 100;

/**
 * Owns nothing: when either end is over, so is the other.
 *
 * @returns whether something is on its way, or an answer due
 */
export function joinEndpoints(client: Endpoint, other: Endpoint, onClosed: () => void): () => boolean {
  let open = 2;
  let last = client;
  let lastMs = performance.now();
  const beganMs = lastMs;
  const follow = (from: Endpoint, to: Endpoint): void => {
    from.listen({
      onData: (bytes) => {
        last = from;
        lastMs = performance.now();
        if (!to.write(bytes)) from.pause();
      },
      onEnd: () => to.end(from.isTorn),
      onDrain: () => to.resume(),
      onClosed: (error) => {
        if (error !== undefined) to.destroy();
        else to.end(from.isTorn);
        open -= 1;
        if (open === 0 || error !== undefined) onClosed();
      },
    });
  };
  follow(client, other);
  follow(other, client);
  return () => open === 2 && ((last === client && lastMs > beganMs) || performance.now() - lastMs < PAUSE_MS);
}
