// What both ends of a copy of HTTP/2 need of its frames (RFC 9113 section 6).

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
export const HEAD_BYTES = 9;

export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;
export const REFUSED_STREAM = 7;
export const ACK = 1;
export const END_STREAM = 1;
export const END_HEADERS = 4;
export const MAX_CONCURRENT_STREAMS = 3;
export const INITIAL_WINDOW_SIZE = 4;

/** Whether a copy is HTTP/2, by what it begins with. */
export const beginsHttp2 = (bytes: Uint8Array): boolean => PREFACE.equals(bytes.subarray(0, PREFACE.length));

export function frame(type: number, flags: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

/** Of the connection. */
export function numberFrame(type: number, value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return frame(type, 0, payload);
}
