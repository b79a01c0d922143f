// HTTP/1 of one direction of a connection, cut into heads and bodies for people to read. Shows and decides nothing: what it
// cannot follow it hands on as bytes. Pure.

export interface HttpHead {
  readonly firstLine: string;
  readonly headers: readonly (readonly [string, string])[];
}

export type HttpPart =
  | { readonly kind: 'head'; readonly head: HttpHead }
  | { readonly kind: 'body'; readonly data: Buffer }
  | { readonly kind: 'finished'; readonly bodyBytes: number }
  /** Not HTTP, or not any more. */
  | { readonly kind: 'bytes'; readonly data: Buffer };

const MAX_HEAD_BYTES = 64 * 1024;
const MAX_LINE_BYTES = 4 * 1024;
const REQUEST_LINE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP\/1\.[01]$/;
const STATUS_LINE = /^HTTP\/1\.[01] [1-5]\d\d(?: .*)?$/;

type State =
  | { at: 'head' }
  | { at: 'counted'; left: number }
  | { at: 'chunk-size' }
  | { at: 'chunk'; left: number }
  | { at: 'chunk-end' }
  | { at: 'trailers' }
  | { at: 'until-end' }
  | { at: 'bytes' };

export class HttpDirection {
  readonly #isResponse: boolean;
  /** For a response: the method it answers; asked at each final head. */
  readonly #methodAnswered: () => string;
  #state: State = { at: 'head' };
  #held: Buffer = Buffer.alloc(0);
  #bodyBytes = 0;

  constructor(isResponse: boolean, methodAnswered: () => string = () => '') {
    this.#isResponse = isResponse;
    this.#methodAnswered = methodAnswered;
  }

  push(data: Uint8Array): HttpPart[] {
    const parts: HttpPart[] = [];
    this.#held = this.#held.length === 0 ? Buffer.from(data) : Buffer.concat([this.#held, data]);
    while (this.#held.length > 0 && this.#step(parts));
    return parts;
  }

  /** The direction has ended, or bytes of it are missing: what is held is all there will be. */
  end(): HttpPart[] {
    const parts: HttpPart[] = [];
    if (this.#state.at === 'until-end') parts.push({ kind: 'finished', bodyBytes: this.#bodyBytes });
    if (this.#held.length > 0) parts.push({ kind: 'bytes', data: this.#held });
    this.#held = Buffer.alloc(0);
    this.#state = { at: 'bytes' };
    return parts;
  }

  /** False: it wants more. */
  #step(parts: HttpPart[]): boolean {
    const state = this.#state;
    switch (state.at) {
      case 'head':
        return this.#readHead(parts);
      case 'counted':
      case 'chunk': {
        const data = this.#take(Math.min(state.left, this.#held.length));
        state.left -= data.length;
        this.#body(parts, data);
        if (state.left > 0) return false;
        if (state.at === 'chunk') this.#state = { at: 'chunk-end' };
        else this.#finish(parts);
        return true;
      }
      case 'until-end':
        this.#body(parts, this.#take(this.#held.length));
        return false;
      case 'bytes':
        parts.push({ kind: 'bytes', data: this.#take(this.#held.length) });
        return false;
      default:
        return this.#readLine(parts, state.at);
    }
  }

  #readHead(parts: HttpPart[]): boolean {
    const end = this.#held.indexOf('\r\n\r\n');
    const lineEnd = this.#held.indexOf('\r\n');
    const line = this.#held.subarray(0, lineEnd < 0 ? MAX_LINE_BYTES : lineEnd).toString('latin1');
    const isWhole = lineEnd >= 0;
    const pattern = this.#isResponse ? STATUS_LINE : REQUEST_LINE;
    const mayBe = isWhole ? pattern.test(line) : this.#held.length < MAX_LINE_BYTES && mayBegin(line, this.#isResponse);
    if (!mayBe || (end < 0 && this.#held.length > MAX_HEAD_BYTES)) {
      this.#state = { at: 'bytes' };
      return true;
    }
    if (end < 0) return false;
    const text = this.#take(end + 4)
      .subarray(0, end)
      .toString('latin1');
    const [firstLine = '', ...lines] = text.split('\r\n');
    const headers = lines.map((one) => {
      const colon = one.indexOf(':');
      return [one.slice(0, Math.max(colon, 0)), one.slice(colon + 1).trim()] as const;
    });
    parts.push({ kind: 'head', head: { firstLine, headers } });
    this.#bodyBytes = 0;
    this.#state = this.#bodyOf(firstLine, headers);
    if (this.#state.at === 'head') this.#finish(parts);
    return true;
  }

  /** RFC 9112 section 6.3, as far as showing needs it. */
  #bodyOf(firstLine: string, headers: HttpHead['headers']): State {
    const fieldOf = (name: string) => headers.find(([one]) => one.toLowerCase() === name)?.[1];
    if (this.#isResponse) {
      const status = Number(firstLine.split(' ')[1]);
      if (status === 101) return { at: 'bytes' };
      const method = status >= 200 ? this.#methodAnswered() : '';
      if (status < 200 || status === 204 || status === 304 || method === 'HEAD') return { at: 'head' };
    }
    if (/\bchunked\b/i.test(fieldOf('transfer-encoding') ?? '')) return { at: 'chunk-size' };
    const length = fieldOf('content-length');
    if (length !== undefined && /^\d{1,15}$/.test(length)) {
      return Number(length) === 0 ? { at: 'head' } : { at: 'counted', left: Number(length) };
    }
    return this.#isResponse ? { at: 'until-end' } : { at: 'head' };
  }

  #readLine(parts: HttpPart[], at: 'chunk-size' | 'chunk-end' | 'trailers'): boolean {
    const end = this.#held.indexOf('\r\n');
    if (end < 0 && this.#held.length <= MAX_LINE_BYTES) return false;
    const line = this.#take(end < 0 ? 0 : end + 2)
      .toString('latin1')
      .trim();
    if (at === 'trailers') {
      if (line === '') this.#finish(parts);
    } else if (at === 'chunk-end') this.#state = { at: line === '' && end === 0 ? 'chunk-size' : 'bytes' };
    else {
      const size = /^([0-9a-fA-F]{1,12})(?:[;\s]|$)/.exec(line)?.[1];
      if (size === undefined) this.#state = { at: 'bytes' };
      else this.#state = /^0+$/.test(size) ? { at: 'trailers' } : { at: 'chunk', left: Number.parseInt(size, 16) };
    }
    return true;
  }

  #finish(parts: HttpPart[]): void {
    this.#state = { at: 'head' };
    parts.push({ kind: 'finished', bodyBytes: this.#bodyBytes });
  }

  #body(parts: HttpPart[], data: Buffer): void {
    this.#bodyBytes += data.length;
    if (data.length > 0) parts.push({ kind: 'body', data });
  }

  #take(bytes: number): Buffer {
    const taken = this.#held.subarray(0, bytes);
    this.#held = this.#held.subarray(bytes);
    return taken;
  }
}

function mayBegin(line: string, isResponse: boolean): boolean {
  if (isResponse) return 'HTTP/1.'.startsWith(line.slice(0, 7));
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |$)/.test(line);
}
