// How a session rides on gRPC: the method with an identity codec, metadata names, and the options without which grpc-js
// moves a fifth of the bytes or stands still. Both ends (dial.ts, services/runtime/rpc.ts) take them from here.

import type { ChannelOptions, MethodDefinition } from '@grpc/grpc-js';
import { encodedBatchBytes, type Frame, writeBatch } from './frame.ts';

export type SessionService = 'Gateway' | 'FsEnv';

/** `up` or `down`: which of the two calls of a session this is. */
export const DIRECTION_KEY = 'mirrord-direction';
/** `Bearer TOKEN` (token.ts). */
export const AUTHORIZATION_KEY = 'authorization';
/** In the trailers of a call that failed: an ErrorDetail. */
export const ERROR_KEY = 'mirrord-error-bin';

/** A peer that has not opened, answered and closed within these is not served further. */
export const PAIRING_DEADLINE_MS = 10_000;

/** Above the largest batch (frame.ts) by the room grpc-js needs; more is refused before it is buffered. */
const MESSAGE_LIMIT_BYTES = 512 * 1024;

/** What goes into a call, and what comes out of one. */
export type OutgoingBatch = readonly Frame[];
export type IncomingBatch = Buffer;

/** Client and server send the same, so that request and response differ in direction only. */
export type SessionMethod = MethodDefinition<OutgoingBatch, IncomingBatch>;

export function sessionMethod(service: SessionService): SessionMethod {
  return {
    path: `/mirrord.v1.${service}/Session`,
    requestStream: true,
    responseStream: true,
    requestSerialize: serialize,
    requestDeserialize: identity as never,
    responseSerialize: serialize as never,
    responseDeserialize: identity,
  };
}

/**
 * HTTP/2 window in bytes, stream and connection alike. Throughput is window / (2 x round trip), so TCP gets 4 MiB; on a
 * unix socket there is no round trip, and beyond its kernel buffer (208 KiB) node:http2 peers that both write can wait
 * for each other for ever.
 */
export function windowBytes(address: string): number {
  return address.startsWith('unix:') ? 256 * 1024 : 4 * 1024 * 1024;
}

export function clientOptions(address: string): ChannelOptions {
  return {
    // Without it grpc-js lets two channels share one connection, and with it the deadlock that two were to cure.
    'grpc.use_local_subchannel_pool': 1,
    'grpc-node.flow_control_window': windowBytes(address),
    'grpc.max_receive_message_length': MESSAGE_LIMIT_BYTES,
    'grpc.max_send_message_length': MESSAGE_LIMIT_BYTES,
    'grpc.enable_channelz': 0,
    'grpc.enable_retries': 0,
    // A proxy of the environment is for the world, not for a unix socket or a forwarded port.
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.default_authority': 'localhost',
  };
}

export function serverOptions(): ChannelOptions {
  return {
    'grpc.max_receive_message_length': MESSAGE_LIMIT_BYTES,
    'grpc.max_send_message_length': MESSAGE_LIMIT_BYTES,
    // A connection of ours carries one call; the rest is room for a call that is being refused.
    'grpc.max_concurrent_streams': 8,
    'grpc.enable_channelz': 0,
  };
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}

/**
 * grpc-js allocates a buffer for its own prefix and the message, and copies the message into it (`length`, `byteLength` and
 * `copy` are all it asks of one). So the batch is encoded when it asks for the copy: half the copies and half the garbage.
 */
function serialize(frames: OutgoingBatch): Buffer {
  const length = encodedBatchBytes(frames);
  const batch = { length, byteLength: length, copy: (out: Uint8Array, start = 0) => writeBatch(frames, out, start) };
  return batch as unknown as Buffer;
}
