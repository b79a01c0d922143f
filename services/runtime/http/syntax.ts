// Classes of octets of HTTP/1 messages, as one table of bits (RFC 9110 section 5.6.2, RFC 9112 sections 2 to 5).

/** tchar of RFC 9110: methods and field names. */
export const TOKEN = 1;
/** What may stand in a request target: everything visible, and octets above ASCII, which peers do send. */
export const TARGET = 2;
/** What may stand in a field value or a reason phrase: the same, space and tab. */
export const VALUE = 4;
const DIGIT = 8;
export const HEX = 16;

const TCHARS = "!#$%&'*+-.^_`|~";

function classesOf(octet: number): number {
  const char = String.fromCharCode(octet);
  const isDigit = octet >= 0x30 && octet <= 0x39;
  const isLetter = (octet | 0x20) >= 0x61 && (octet | 0x20) <= 0x7a && octet < 0x80;
  const isHighOctet = octet >= 0x80;
  const isVisible = (octet > 0x20 && octet < 0x7f) || isHighOctet;
  return (
    (isDigit || isLetter || (octet < 0x80 && TCHARS.includes(char)) ? TOKEN : 0) |
    (isVisible ? TARGET : 0) |
    (isVisible || octet === 0x20 || octet === 0x09 ? VALUE : 0) |
    (isDigit ? DIGIT : 0) |
    (isDigit || /[a-fA-F]/.test(char) ? HEX : 0)
  );
}

/** Classes of each octet, a sum of the constants above. */
export const CLASSES: Uint8Array = Uint8Array.from({ length: 256 }, (_, octet) => classesOf(octet));

export const CR = 0x0d;
export const LF = 0x0a;
export const SPACE = 0x20;
export const TAB = 0x09;
export const COLON = 0x3a;
