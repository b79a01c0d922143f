// What a session says to the agent, encoded, and how a request is called in messages. Pure.

import { AppError } from '#proto/errors.ts';
import { FileRequest } from '#proto/gen/v1/fs_env.ts';
import { OpenSession } from '#proto/gen/v1/session.ts';
import { PROTOCOL_VERSION, VERSION } from '#proto/version.ts';
import type { FileOperation, SessionOptions } from './session.ts';

export function encodeOpening(options: SessionOptions): Uint8Array {
  const { target } = options;
  return OpenSession.encode({
    protocolVersion: PROTOCOL_VERSION,
    clientVersion: VERSION,
    target: {
      target: target.kind === 'pid' ? { $case: 'pid', value: target.pid } : { $case: 'container', value: target.name },
    },
    wantsEnvironment: options.wantsEnvironment,
    wantsFiles: options.wantsFiles,
    wantsNetwork: options.wantsNetwork ?? false,
    wantsIncoming: options.wantsIncoming ?? false,
  }).finish();
}

export function encodeRequest(operation: FileOperation): Uint8Array {
  return FileRequest.encode({ op: operation }).finish();
}

export function describe(operation: FileOperation): string {
  const { value } = operation;
  return 'path' in value ? `${operation.$case} of ${Buffer.from(value.path).toString()}` : operation.$case;
}

export function cancelled(operation: FileOperation): AppError {
  return new AppError('CANCELLED', `nobody waits for ${operation.$case} any more`);
}
