import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { Shutdown } from './shutdown.ts';

function start(exitWithParent = false) {
  const stdin = new PassThrough();
  const host = Object.assign(new EventEmitter(), { stdin });
  const shutdown = new Shutdown({
    logger: pino({ level: 'silent' }),
    exitWithParent,
    host: host as unknown as NodeJS.Process,
    deadlineMs: 20,
  });
  return { host, stdin, shutdown };
}

test('a signal closes everything in reverse order, each after the one before has finished', async () => {
  const { host, shutdown } = start();
  const order: string[] = [];
  for (const name of ['first', 'second', 'third']) {
    shutdown.onClose(name, async () => {
      order.push(`${name} begins`);
      await Promise.resolve();
      order.push(`${name} ends`);
    });
  }
  const ended = shutdown.run();
  host.emit('SIGTERM');
  host.emit('SIGTERM');
  expect(await ended).toBe(0);
  expect(shutdown.signal.reason).toBe('SIGTERM');
  expect(order.filter((step) => step.endsWith('begins'))).toEqual(['third begins', 'second begins', 'first begins']);
  expect(order.indexOf('third ends')).toBeLessThan(order.indexOf('second begins'));
});

test('the end of the parent is a request to end, where it was asked for', async () => {
  const { stdin, shutdown } = start(true);
  stdin.end();
  expect(await shutdown.run()).toBe(0);
  expect(shutdown.signal.reason).toBe('parent ended');
});

test('one that throws and one that hangs do not keep the others from being closed, and show in the exit code', async () => {
  const { shutdown } = start();
  let isClosed = false;
  shutdown.onClose('sound', () => {
    isClosed = true;
  });
  shutdown.onClose('hanging', () => new Promise<void>(() => undefined));
  shutdown.onClose('throwing', () => {
    throw new Error('x');
  });
  shutdown.request('test');
  expect(await shutdown.run()).toBe(1);
  expect(isClosed).toBe(true);
});
