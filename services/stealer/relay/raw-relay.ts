// Two endpoints joined: what one says the other hears, byte for byte, with its end and its back-pressure.

import type { Endpoint } from './endpoint.ts';

/** Resolves nothing and owns nothing: when either end is over, so is the other. */
export function joinEndpoints(client: Endpoint, other: Endpoint, onClosed: () => void): void {
  let open = 2;
  const follow = (from: Endpoint, to: Endpoint): void => {
    from.listen({
      onData: (bytes) => {
        if (!to.write(bytes)) from.pause();
      },
      onEnd: () => to.end(),
      onDrain: () => to.resume(),
      onClosed: (error) => {
        if (error !== undefined) to.destroy();
        else to.end();
        open -= 1;
        if (open === 0 || error !== undefined) onClosed();
      },
    });
  };
  follow(client, other);
  follow(other, client);
}
