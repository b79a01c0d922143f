// How a call ends, as gRPC says it: a number and a text in the trailers for any gRPC tool, and an ErrorDetail for our own.

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import { AppError, fromErrorDetail, GRPC_STATUS, toErrorDetail } from './errors.ts';
import { ErrorDetail } from './gen/v1/error.ts';
import { ERROR_KEY } from './grpc-tuning.ts';

export const CONTENT_TYPE = 'application/grpc';

export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
  readonly detail: Buffer | null;
}

export function statusHeaders(error: AppError | null): OutgoingHttpHeaders {
  if (error === null) return { 'grpc-status': '0' };
  return {
    'grpc-status': String(GRPC_STATUS[error.row.status]),
    'grpc-message': encodeMessageText(error.message),
    [ERROR_KEY]: Buffer.from(ErrorDetail.encode(toErrorDetail(error)).finish()).toString('base64'),
  };
}

/** Of trailers, or of the headers of a call that was refused at once; null where they say nothing of an end. */
export function readStatus(headers: IncomingHttpHeaders): GrpcStatus | null {
  const code = headers['grpc-status'];
  if (code === undefined) return null;
  const detail = headers[ERROR_KEY];
  return {
    code: Number(code),
    message: decodeMessageText(String(headers['grpc-message'] ?? '')),
    detail: typeof detail === 'string' ? Buffer.from(detail, 'base64') : null,
  };
}

/** The peer's own word, or null when it sent none. Throws PROTOCOL_VIOLATION when that cannot be read. */
export function errorOfStatus({ detail }: GrpcStatus): AppError | null {
  if (detail === null) return null;
  try {
    return fromErrorDetail(ErrorDetail.decode(detail));
  } catch (cause) {
    throw new AppError('PROTOCOL_VIOLATION', 'the error in the trailers cannot be read', { cause });
  }
}

/** Percent-encoding of everything but printable ASCII ("Status-Message" of the protocol). */
function encodeMessageText(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return encoded;
}

function decodeMessageText(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
