// Whether what a service announced is a place that we may give a session to. Announcements come over NATS, and whoever
// could speak there in a service's stead would be asked for the environment that a developer's program starts with.

import { lstatSync, realpathSync, type Stats } from 'node:fs';
import path from 'node:path';
import { AppError } from '#proto/errors.ts';

const OTHERS_MAY_WRITE = 0o022;
const STICKY = 0o1000;

/**
 * The address to dial, without links. Throws NOT_PERMITTED unless it is a socket of ours or root's in a folder that nobody
 * else can put a name into.
 */
export function trustedServiceAddress(address: string): string {
  const announced = address.startsWith('unix:') ? address.slice('unix:'.length) : '';
  if (!path.isAbsolute(announced)) throw refused(address, 'is no socket of this machine');
  const socketPath = looking(address, () => realpathSync(announced));
  const socket = looking(address, () => lstatSync(socketPath));
  if (!socket.isSocket() || !isTrusted(socket)) throw refused(address, 'is no socket of ours or of root');
  const folder = looking(address, () => lstatSync(path.dirname(socketPath)));
  const isOpen = (folder.mode & OTHERS_MAY_WRITE) !== 0 && (folder.mode & STICKY) === 0;
  if (!isTrusted(folder) || isOpen) throw refused(address, 'others may change its folder');
  return `unix:${socketPath}`;
}

function isTrusted({ uid }: Stats): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

function looking<T>(address: string, look: () => T): T {
  try {
    return look();
  } catch (cause) {
    throw new AppError('SERVICE_UNAVAILABLE', `service announced at ${JSON.stringify(address)}: nobody is there`, {
      cause,
    });
  }
}

function refused(address: string, why: string): AppError {
  return new AppError('NOT_PERMITTED', `service announced at ${JSON.stringify(address)}: ${why}`);
}
