// The offer to go on in HTTP/2 (`Upgrade: h2c`, RFC 7540 section 3.2, which RFC 9113 has given up). Taken by a server, it would
// carry every later request past the filters. A server may always leave it, so it is taken out of the head; nothing else is.

import { asksForUpgrade } from './framing.ts';
import { type Field, fieldValue, isNamed, type RequestHead } from './message-head.ts';
import type { RequestPiece } from './request-reader.ts';

const tokensOf = (value: string): string[] =>
  value
    .split(',')
    .map((token) => token.trim())
    .filter((token) => token !== '');

function isOfOffer(token: string): boolean {
  return /^(?:h2c|h2)$/i.test(token);
}

type HeadPiece = RequestPiece & Readonly<{ kind: 'head' }>;

/** The same head without the offer. */
export function pieceWithoutHttp2Offer(piece: HeadPiece): HeadPiece {
  if (!piece.mayLeaveHttp) return piece;
  const rest = withoutHttp2Offer(piece.head, piece.head.end - piece.bytes.length);
  return rest === undefined ? piece : { ...piece, bytes: rest.bytes, mayLeaveHttp: rest.asksForMore };
}

/** True when a WebSocket is all that is asked for: no frame of it looks like the beginning of a request (RFC 6455 section 5.2). */
export function asksForWebSocket({ bytes, fields }: RequestHead): boolean {
  const offers = fields.filter((field) => isNamed(bytes, field, 'upgrade'));
  return offers.length === 1 && fieldValue(bytes, offers[0] as Field).toLowerCase() === 'websocket';
}

/**
 * @param start where the request line begins
 * @returns the head without the offer, and whether another protocol is still asked for; undefined when there is none
 */
export function withoutHttp2Offer(
  head: RequestHead,
  start: number,
): Readonly<{ bytes: Buffer; asksForMore: boolean }> | undefined {
  const { bytes, fields, end } = head;
  const offers = fields.filter((field) => isNamed(bytes, field, 'upgrade'));
  const tokens = offers.flatMap((field) => tokensOf(fieldValue(bytes, field)));
  if (!tokens.some(isOfOffer)) return undefined;
  const others = tokens.filter((token) => !isOfOffer(token));
  const gone = new Set(others.length > 0 ? ['http2-settings'] : ['http2-settings', 'upgrade']);
  const parts: Buffer[] = [];
  let from = start;
  const replace = ({ nameStart, valueStart, valueEnd }: Field, value: string): void => {
    // A field without a value goes as a whole, with its line's end.
    const to = value === '' ? valueEnd + lineEnd(bytes, valueEnd) : valueEnd;
    parts.push(bytes.subarray(from, value === '' ? nameStart : valueStart), Buffer.from(value, 'latin1'));
    from = to;
  };
  for (const field of fields) {
    if (isNamed(bytes, field, 'upgrade')) {
      replace(
        field,
        tokensOf(fieldValue(bytes, field))
          .filter((token) => !isOfOffer(token))
          .join(', '),
      );
    } else if (isNamed(bytes, field, 'http2-settings')) replace(field, '');
    else if (isNamed(bytes, field, 'connection')) {
      const kept = tokensOf(fieldValue(bytes, field)).filter((token) => !gone.has(token.toLowerCase()));
      replace(field, kept.join(', '));
    }
  }
  parts.push(bytes.subarray(from, end));
  return { bytes: Buffer.concat(parts), asksForMore: others.length > 0 && asksForUpgrade(head) };
}

/** Bytes from the value's end to the next line: white space and CRLF. */
function lineEnd(bytes: Buffer, at: number): number {
  return bytes.indexOf('\r\n', at) + 2 - at;
}
