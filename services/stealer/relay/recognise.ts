// How a connection shows that it is HTTP/2 with prior knowledge.

import { FRAME_HEAD_BYTES, FrameType, PREFACE } from '#runtime/http2/frame.ts';

export const NOTHING = Buffer.alloc(0);

const HTTP2_LINE = PREFACE.subarray(0, PREFACE.indexOf('\n') + 1);

/** The line that only HTTP/2 begins with (RFC 9113 section 3.4). */
export const isHttp2 = (bytes: Buffer): boolean => bytes.subarray(0, HTTP2_LINE.length).equals(HTTP2_LINE);

/** What a server of HTTP/2 begins with, perhaps before its client has said a word: SETTINGS. */
export function isHttp2Answer(bytes: Buffer): boolean {
  if (bytes.length < FRAME_HEAD_BYTES) return false;
  return (
    bytes.readUIntBE(0, 3) % 6 === 0 && bytes.readUInt16BE(3) === FrameType.settings << 8 && bytes.readUInt32BE(5) === 0
  );
}
