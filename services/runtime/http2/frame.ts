// HTTP/2 frames as bytes (RFC 9113 sections 4 and 6).

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
export const FRAME_HEAD_BYTES = 9;
/** What every receiver takes (RFC 9113 section 4.2). */
export const SAFE_FRAME_BYTES = 16_384;
/** Windows begin with this (RFC 9113 section 6.9.2). */
export const INITIAL_WINDOW_BYTES = 65_535;
export const MAX_WINDOW_BYTES = 2 ** 31 - 1;

export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const Flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
} as const;

export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;

export type FrameHead = Readonly<{ type: number; flags: number; streamId: number; length: number }>;

export function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const out = Buffer.allocUnsafe(FRAME_HEAD_BYTES + payload.length);
  writeFrameHead(out, type, flags, streamId, payload.length);
  payload.copy(out, FRAME_HEAD_BYTES);
  return out;
}

export function frameHead(type: number, flags: number, streamId: number, length: number): Buffer {
  const out = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
  writeFrameHead(out, type, flags, streamId, length);
  return out;
}

function writeFrameHead(out: Buffer, type: number, flags: number, streamId: number, length: number): void {
  out.writeUIntBE(length, 0, 3);
  out[3] = type;
  out[4] = flags;
  out.writeUInt32BE(streamId, 5);
}

/** A frame whose payload is one number of 32 bits. */
function numberFrame(type: number, streamId: number, value: number): Buffer {
  const out = Buffer.allocUnsafe(FRAME_HEAD_BYTES + 4);
  writeFrameHead(out, type, 0, streamId, 4);
  out.writeUInt32BE(value, FRAME_HEAD_BYTES);
  return out;
}

export const windowUpdate = (streamId: number, bytes: number): Buffer =>
  numberFrame(FrameType.windowUpdate, streamId, bytes);

export const rstStream = (streamId: number, code: number): Buffer => numberFrame(FrameType.rstStream, streamId, code);

export function goaway(lastStreamId: number, code: number, debug: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.allocUnsafe(8);
  head.writeUInt32BE(lastStreamId, 0);
  head.writeUInt32BE(code, 4);
  return frame(FrameType.goaway, 0, 0, Buffer.concat([head, debug]));
}

export function settings(values: ReadonlyArray<readonly [id: number, value: number]>): Buffer {
  const payload = Buffer.allocUnsafe(values.length * 6);
  for (const [index, [id, value]] of values.entries()) {
    payload.writeUInt16BE(id, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  }
  return frame(FrameType.settings, 0, 0, payload);
}

/** @param bytes a whole SETTINGS frame */
export function readSettings(bytes: Buffer): Map<number, number> {
  const values = new Map<number, number>();
  for (let at = FRAME_HEAD_BYTES; at + 6 <= bytes.length; at += 6) {
    values.set(bytes.readUInt16BE(at), bytes.readUInt32BE(at + 2));
  }
  return values;
}

export const SETTINGS_ACK = frame(FrameType.settings, Flag.ack, 0, Buffer.alloc(0));

/** HEADERS, and CONTINUATION as far as the block needs them. @param priority what the client's frame had, or nothing */
export function headersFrames(streamId: number, block: Buffer, isEnd: boolean, priority?: Buffer): Buffer {
  const whole = priority === undefined ? block : Buffer.concat([priority, block]);
  const frames: Buffer[] = [];
  for (let start = 0; start === 0 || start < whole.length; start += SAFE_FRAME_BYTES) {
    const isLast = start + SAFE_FRAME_BYTES >= whole.length;
    const flags =
      (isLast ? Flag.endHeaders : 0) |
      (start === 0 && isEnd ? Flag.endStream : 0) |
      (start === 0 && priority !== undefined ? Flag.priority : 0);
    const type = start === 0 ? FrameType.headers : FrameType.continuation;
    frames.push(frame(type, flags, streamId, whole.subarray(start, start + SAFE_FRAME_BYTES)));
  }
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
}
