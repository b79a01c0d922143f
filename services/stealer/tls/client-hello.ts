// The first thing that a client of TLS says, read as far as it tells whom it wants and what it speaks: RFC 8446 section 4.1.2,
// RFC 6066 section 3, RFC 7301. Reads, and believes no length. Pure.

/** Of a record that carries a handshake, up to its fragment's length. */
const RECORD_HEAD_BYTES = 5;
const HANDSHAKE_RECORD = 22;
const TLS_MAJOR = 3;
/** Bytes of one fragment (RFC 8446 section 5.1). */
const MAX_FRAGMENT_BYTES = 16_384;
const HANDSHAKE_HEAD_BYTES = 4;
const CLIENT_HELLO = 1;
/** Of version and random, before the session id. */
const FIXED_BYTES = 34;
const SERVER_NAME = 0;
const HOST_NAME = 0;
const ALPN = 16;
/** What is longer is left to the target: no client needs so much to say hello. */
export const MAX_HELLO_BYTES = 16_384;
/** Records that one hello is spread over; more are somebody's play. */
const MAX_FRAGMENTS = 32;
/** Of all that has to be seen for it. */
export const MAX_HELLO_RECORD_BYTES = MAX_HELLO_BYTES + MAX_FRAGMENTS * RECORD_HEAD_BYTES;
/** As DNS has it. */
const MAX_NAME_BYTES = 255;

export type ClientHello = Readonly<{
  /** In lower case; empty: none was named. */
  serverName: string;
  /** In the client's order; empty: it speaks no ALPN. As latin1. */
  protocols: readonly string[];
}>;

/** `more`: it may become one. `none`: it is something else, or not as it should be. */
export type HelloReading = ClientHello | 'more' | 'none';

class Fault extends Error {}

/** Lengths within lengths: what would leave its frame is a fault. */
class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  number(size: 1 | 2): number {
    return this.take(size).readUIntBE(0, size);
  }

  take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Fault();
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  /** What its own length, of so many bytes, says. */
  vector(size: 1 | 2): Buffer {
    return this.take(this.number(size));
  }
}

/** @param bytes all that has come on the connection */
export function readClientHello(bytes: Buffer): HelloReading {
  const message = joinFragments(bytes);
  if (typeof message === 'string') return message;
  try {
    return readMessage(new Cursor(message));
  } catch (thrown) {
    if (thrown instanceof Fault) return 'none';
    throw thrown;
  }
}

/** The handshake message that may be spread over records. */
function joinFragments(bytes: Buffer): Buffer | 'more' | 'none' {
  const fragments: Buffer[] = [];
  let have = 0;
  let wanted = HANDSHAKE_HEAD_BYTES;
  for (let at = 0; have < wanted; ) {
    if (fragments.length === MAX_FRAGMENTS) return 'none';
    const head = bytes.subarray(at, at + RECORD_HEAD_BYTES);
    const [type = HANDSHAKE_RECORD, major = TLS_MAJOR] = head;
    if (type !== HANDSHAKE_RECORD || major !== TLS_MAJOR) return 'none';
    if (head.length < RECORD_HEAD_BYTES) return 'more';
    const length = head.readUInt16BE(3);
    if (length === 0 || length > MAX_FRAGMENT_BYTES) return 'none';
    at += RECORD_HEAD_BYTES;
    const fragment = bytes.subarray(at, at + length);
    if (have === 0 && fragment.length > 0 && fragment[0] !== CLIENT_HELLO) return 'none';
    const isHeadMissing = have < HANDSHAKE_HEAD_BYTES;
    fragments.push(fragment);
    have += fragment.length;
    if (isHeadMissing && have >= HANDSHAKE_HEAD_BYTES) {
      wanted = HANDSHAKE_HEAD_BYTES + Buffer.concat(fragments).readUIntBE(1, 3);
      if (wanted > MAX_HELLO_BYTES) return 'none';
    }
    if (fragment.length < length && have < wanted) return 'more';
    at += length;
  }
  return Buffer.concat(fragments).subarray(HANDSHAKE_HEAD_BYTES, wanted);
}

function readMessage(hello: Cursor): ClientHello {
  hello.take(FIXED_BYTES);
  hello.vector(1);
  hello.vector(2);
  hello.vector(1);
  const result = { serverName: '', protocols: [] as readonly string[] };
  if (hello.isAtEnd) return result;
  const extensions = new Cursor(hello.vector(2));
  if (!hello.isAtEnd) throw new Fault();
  const seen = new Set<number>();
  while (!extensions.isAtEnd) {
    const type = extensions.number(2);
    const value = new Cursor(extensions.vector(2));
    // Two of a kind are read in two ways (RFC 8446 section 4.2).
    if (seen.has(type)) throw new Fault();
    seen.add(type);
    if (type === SERVER_NAME) result.serverName = readServerName(value);
    else if (type === ALPN) result.protocols = readProtocols(value);
  }
  return result;
}

function readServerName(value: Cursor): string {
  const names = new Cursor(value.vector(2));
  if (!value.isAtEnd || names.isAtEnd) throw new Fault();
  const type = names.number(1);
  const name = names.vector(2);
  if (type !== HOST_NAME || !names.isAtEnd || name.length === 0 || name.length > MAX_NAME_BYTES) throw new Fault();
  if (name.some((byte) => byte <= 0x20 || byte >= 0x7f)) throw new Fault();
  return name.toString('latin1').toLowerCase();
}

function readProtocols(value: Cursor): string[] {
  const list = new Cursor(value.vector(2));
  if (!value.isAtEnd || list.isAtEnd) throw new Fault();
  const protocols: string[] = [];
  while (!list.isAtEnd) {
    const name = list.vector(1);
    if (name.length === 0) throw new Fault();
    protocols.push(name.toString('latin1'));
  }
  return protocols;
}
