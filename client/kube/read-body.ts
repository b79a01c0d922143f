// The whole of an answer as text, up to a limit.

import type { Readable } from 'node:stream';
import { AppError } from '#proto/errors.ts';

/** Rejects with LIMIT_REACHED, or with what broke the stream; the stream is destroyed then. */
export async function readBody(stream: Readable, limitBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limitBytes) {
      throw new AppError('LIMIT_REACHED', `an answer of the API server is longer than ${limitBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size).toString('utf8');
}
