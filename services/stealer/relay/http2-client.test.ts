import { expect, test } from 'vitest';
import { windowUpdate } from '#runtime/http2/frame.ts';
import { ClientSide, MAX_WAITING_FRAME_BYTES } from './http2-client.ts';

test('a client that reads nothing is cut when 1 MiB of our frames waits for it', () => {
  const written: Buffer[] = [];
  let cut = 0;
  const client = new ClientSide(
    {
      write: (bytes) => {
        written.push(bytes);
        return false;
      },
      end: () => undefined,
      destroy: () => undefined,
      pause: () => undefined,
      resume: () => undefined,
      listen: () => undefined,
    },
    { isAtBoundary: () => true, onFull: () => undefined, onClogged: () => cut++, onSent: () => undefined },
  );
  const one = windowUpdate(0, 1);
  client.send(one);
  client.flush();
  expect([client.isFull, written.length]).toEqual([true, 1]);
  for (let bytes = 0; bytes + one.length <= MAX_WAITING_FRAME_BYTES; bytes += one.length) {
    client.send(one);
    client.flush();
  }
  expect([cut, written.length]).toEqual([0, 1]);
  client.send(one);
  expect(cut).toBe(1);
  client.onDrain();
  expect(Buffer.concat(written).length).toBeGreaterThan(MAX_WAITING_FRAME_BYTES);
});
