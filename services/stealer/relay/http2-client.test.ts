import { afterEach, expect, test, vi } from 'vitest';
import { windowUpdate } from '#runtime/http2/frame.ts';
import { ClientSide, MAX_WAITING_FRAME_BYTES } from './http2-client.ts';
import { CUT_FRAME_MS } from './times.ts';

afterEach(() => {
  vi.useRealTimers();
});

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

test('a target that stops within a frame is waited for as long as it goes on, or nothing waits behind it', () => {
  vi.useFakeTimers();
  let isAtBoundary = false;
  let cut = 0;
  const endpoint = {
    write: () => true,
    end: () => undefined,
    destroy: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    listen: () => undefined,
  };
  const client = new ClientSide(endpoint, {
    isAtBoundary: () => isAtBoundary,
    onFull: () => undefined,
    onClogged: () => cut++,
    onSent: () => undefined,
  });
  client.pump();
  vi.advanceTimersByTime(CUT_FRAME_MS * 2);
  expect(cut).toBe(0);
  client.send(windowUpdate(0, 1));
  client.pump();
  for (let part = 0; part < 3; part++) {
    vi.advanceTimersByTime(CUT_FRAME_MS - 1);
    client.pass(Buffer.from('x'));
    client.pump();
  }
  expect(cut).toBe(0);
  vi.advanceTimersByTime(CUT_FRAME_MS);
  expect(cut).toBe(1);
  isAtBoundary = true;
  client.pump();
  vi.advanceTimersByTime(CUT_FRAME_MS * 2);
  expect(cut).toBe(1);
});
