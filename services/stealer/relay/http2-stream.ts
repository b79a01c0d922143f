// A stream that a session took, and the answers that are ours when the session cannot give one.

import { ErrorCode, headersFrames } from '#runtime/http2/frame.ts';
import { encodeHeaderBlock, field } from '#runtime/http2/hpack-encoder.ts';
import type { HeaderField } from '#runtime/http2/hpack-table.ts';
import type { Outbox } from './http2-sender.ts';
import type { TakenSide } from './http2-taken.ts';
import { SESSION_ENDED } from './side.ts';

export type TakenStream = {
  readonly id: number;
  readonly fields: readonly HeaderField[];
  /** What its request's fields are unpacked, trailers included. */
  headBytes: number;
  /** Undefined when the session has ended. */
  side: TakenSide | undefined;
  /** To the local process; it begins with the request's head. */
  readonly upload: Outbox;
  /** To the client. */
  readonly download: Outbox;
  /** The head of the answer proper is on its way to the client. */
  isAnswered: boolean;
  /** Their END_STREAM has come. */
  hasClientEnded: boolean;
  hasLocalEnded: boolean;
  /** The last frame of the answer has been sent. */
  isAnswerSent: boolean;
  /** Of the client's window, and of ours towards the local process: consumed, and not given back yet. */
  owedToClient: number;
  owedToLocal: number;
};

const fieldValue = (fields: readonly HeaderField[], name: string): string | undefined =>
  fields.find((one) => one.name === name)?.value;

/** 502, or for gRPC the status that its callers know how to handle (RFC 9110 section 15.6.3; gRPC UNAVAILABLE). */
export function answerForLost(stream: TakenStream, why = SESSION_ENDED): void {
  const reason = `mirrord: ${why}`;
  const { id, fields, download } = stream;
  if (fieldValue(fields, 'content-type')?.startsWith('application/grpc')) {
    const trailers = [
      field(':status', '200'),
      field('content-type', 'application/grpc'),
      field('grpc-status', '14'),
      field('grpc-message', reason),
    ];
    download.addFrames(headersFrames(id, encodeHeaderBlock(trailers), true), true);
  } else {
    const body = Buffer.from(`${reason}\n`, 'latin1');
    const isHead = fieldValue(fields, ':method') === 'HEAD';
    const head = [
      field(':status', '502'),
      field('content-type', 'text/plain; charset=utf-8'),
      field('content-length', `${body.length}`),
    ];
    download.addFrames(headersFrames(id, encodeHeaderBlock(head), isHead), isHead);
    if (!isHead) download.addData(body, true);
  }
  // The rest of the request is not wanted (RFC 9113 section 8.1).
  if (!stream.hasClientEnded) download.addReset(ErrorCode.noError);
  stream.isAnswered = true;
  stream.hasLocalEnded = true;
}

export const isInterim = (fields: readonly HeaderField[]): boolean =>
  fieldValue(fields, ':status')?.startsWith('1') ?? false;
