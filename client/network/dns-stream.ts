// DNS over TCP (RFC 1035, 4.2.2) between the local process and a name server of the target: answers are learned from, and
// where a filter keeps names here, their questions are answered here and never reach the target. Then both directions go on
// message by message, so that an answer of ours never lands inside one of the target's.

import type { StreamTap } from './stream-tap.ts';

export interface DnsStreamOptions {
  /** Each answer of the target. */
  readonly learn: (message: Buffer) => void;
  /** Answers the question by `answer`, or returns false: it is the target's. null: all are. */
  readonly askHere: ((query: Buffer, answer: (message: Buffer) => void) => boolean) | null;
}

const PREFIX_BYTES = 2;
const NOTHING = Buffer.alloc(0);

export class DnsStream implements StreamTap {
  readonly #options: DnsStreamOptions;
  readonly #fromTarget = new Messages();
  readonly #fromHere = new Messages();
  #answer: (data: Buffer) => void = () => undefined;

  constructor(options: DnsStreamOptions) {
    this.#options = options;
  }

  attach(answer: (data: Buffer) => void): void {
    this.#answer = answer;
  }

  down(data: Uint8Array): Uint8Array {
    const messages = this.#fromTarget.push(data);
    for (const message of messages) this.#options.learn(message.subarray(PREFIX_BYTES));
    return this.#options.askHere === null ? data : Buffer.concat(messages);
  }

  up(data: Buffer): Buffer {
    const { askHere } = this.#options;
    if (askHere === null) return data;
    const answer = (message: Buffer) => this.#answer(prefixed(message));
    const remote = this.#fromHere.push(data).filter((one) => !askHere(one.subarray(PREFIX_BYTES), answer));
    return remote.length === 0 ? NOTHING : Buffer.concat(remote);
  }
}

/** Cuts a stream into messages, each with its prefix; keeps less than one, 64 KiB at most. */
export class Messages {
  #held: Buffer = NOTHING;

  push(data: Uint8Array): Buffer[] {
    const whole: Buffer[] = [];
    let rest = this.#held.length === 0 ? Buffer.from(data) : Buffer.concat([this.#held, data]);
    while (rest.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + rest.readUInt16BE(0);
      if (rest.length < end) break;
      whole.push(rest.subarray(0, end));
      rest = rest.subarray(end);
    }
    this.#held = Buffer.from(rest);
    return whole;
  }
}

export function prefixed(message: Uint8Array): Buffer {
  const whole = Buffer.alloc(PREFIX_BYTES + message.length);
  whole.writeUInt16BE(message.length);
  whole.set(message, PREFIX_BYTES);
  return whole;
}
