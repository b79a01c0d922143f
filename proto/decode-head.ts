// Heads of frames, read by the generated decoders and refused as ours are.

import { AppError } from './errors.ts';

/** Generated decoders throw plain errors on garbage; on our wire that is the peer's violation. */
export function decodeHead<T>(decode: (bytes: Uint8Array) => T, head: Uint8Array): T {
  try {
    return decode(head);
  } catch (cause) {
    throw new AppError('PROTOCOL_VIOLATION', `head of ${head.length} bytes cannot be read`, { cause });
  }
}
