// Messages of the domain name system (RFC 1035, EDNS of RFC 6891): read as far as the relay has to decide, with every
// length and name bounded by the message, and built where it answers itself. Pure; what is malformed reads as null.

import { formatIp } from '#proto/socket-address.ts';

export interface DnsQuery {
  readonly id: number;
  readonly isRecursionDesired: boolean;
  readonly isCheckingDisabled: boolean;
  readonly isAuthenticDesired: boolean;
  /** Lower case, without a dot at its end; bytes that are no part of host names as \DDD. '' is the root. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** Where the question ends. */
  readonly questionEnd: number;
  /** null without EDNS. */
  readonly edns: { readonly payloadBytes: number; readonly isDnssecOk: boolean; readonly hasOptions: boolean } | null;
  /** Holds nothing but the question and EDNS: whoever asks the same may have the same answer. */
  readonly isPlain: boolean;
}

export interface DnsAnswer {
  readonly id: number;
  readonly isTruncated: boolean;
  readonly rcode: number;
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly questionEnd: number;
  /** Of every record but EDNS. */
  readonly ttlOffsets: readonly number[];
  /** How long it holds in seconds: 0 for an answer that must not be kept. */
  readonly ttlSeconds: number;
  /** A and AAAA of the name that was asked for, by way of its aliases. */
  readonly addresses: readonly Uint8Array[];
}

export const DNS_TYPE = { A: 1, CNAME: 5, SOA: 6, PTR: 12, TXT: 16, AAAA: 28, SRV: 33, OPT: 41 } as const;
export const DNS_RCODE = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3 } as const;
const CLASS_IN = 1;

const HEADER_BYTES = 12;
const MAX_NAME_BYTES = 255;
const FLAG = { QR: 0x8000, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020, CD: 0x0010 };
/** RFC 8767 section 4: a week is more than anybody means. */
const MAX_TTL_SECONDS = 7 * 24 * 3600;

interface Record {
  readonly owner: string;
  readonly type: number;
  readonly class: number;
  readonly ttlOffset: number;
  readonly ttl: number;
  readonly dataStart: number;
  readonly dataEnd: number;
}

export function readQuery(bytes: Uint8Array): DnsQuery | null {
  const message = toBuffer(bytes);
  const question = readQuestion(message);
  if (question === null || (message.readUInt16BE(2) & FLAG.QR) !== 0) return null;
  const flags = message.readUInt16BE(2);
  const records = readRecords(message, question.questionEnd, [6, 8, 10]);
  if (records === null) return null;
  const options = records.list.filter(({ type }) => type === DNS_TYPE.OPT);
  const [option] = options;
  return {
    id: message.readUInt16BE(0),
    isRecursionDesired: (flags & FLAG.RD) !== 0,
    isCheckingDisabled: (flags & FLAG.CD) !== 0,
    isAuthenticDesired: (flags & FLAG.AD) !== 0,
    ...question,
    edns:
      option === undefined
        ? null
        : {
            payloadBytes: option.class,
            isDnssecOk: (option.ttl & 0x8000) !== 0,
            hasOptions: option.dataEnd > option.dataStart,
          },
    isPlain:
      options.length === records.list.length &&
      options.length <= 1 &&
      (option === undefined || option.dataEnd === option.dataStart) &&
      records.end === message.length &&
      ((flags >> 11) & 15) === 0,
  };
}

export function readAnswer(bytes: Uint8Array): DnsAnswer | null {
  const message = toBuffer(bytes);
  const question = readQuestion(message);
  if (question === null || (message.readUInt16BE(2) & FLAG.QR) === 0) return null;
  const flags = message.readUInt16BE(2);
  const answers = readRecords(message, question.questionEnd, [6]);
  const rest = answers === null ? null : readRecords(message, answers.end, [8, 10]);
  if (answers === null || rest === null) return null;
  const all = [...answers.list, ...rest.list].filter(({ type }) => type !== DNS_TYPE.OPT);
  const rcode = flags & 15;
  return {
    id: message.readUInt16BE(0),
    isTruncated: (flags & FLAG.TC) !== 0,
    rcode,
    ...question,
    ttlOffsets: all.map(({ ttlOffset }) => ttlOffset),
    ttlSeconds: ttlOf(message, rcode, question.type, answers.list, all),
    addresses: addressesOf(message, question.name, answers.list),
  };
}

/** The same question to somebody else. */
export function withId(message: Uint8Array, id: number): Buffer {
  const copy = Buffer.from(message);
  if (copy.length >= 2) copy.writeUInt16BE(id, 0);
  return copy;
}

/** An answer of the same question for another asker: his id and his spelling of the name (0x20 bits). */
export function answerFor(answer: Uint8Array, query: Uint8Array, questionEnd: number): Buffer {
  const copy = Buffer.from(answer);
  copy.set(query.subarray(0, 2), 0);
  copy.set(query.subarray(HEADER_BYTES, questionEnd), HEADER_BYTES);
  return copy;
}

export function ageBy(message: Buffer, ttlOffsets: readonly number[], seconds: number): void {
  for (const at of ttlOffsets) message.writeUInt32BE(Math.max(0, message.readUInt32BE(at) - seconds), at);
}

/** null for a name that cannot be asked for. */
export function buildQuery(id: number, name: string, type: number): Buffer | null {
  const encoded = encodeName(name);
  if (encoded === null) return null;
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUInt16BE(id, 0);
  head.writeUInt16BE(FLAG.RD, 2);
  head.writeUInt16BE(1, 4);
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(type, 0);
  tail.writeUInt16BE(CLASS_IN, 2);
  return Buffer.concat([head, encoded, tail]);
}

/** Answers an A or AAAA question ourselves. No address: the name exists and has none of the type. */
export function buildAnswer(
  query: Uint8Array,
  parsed: DnsQuery,
  addresses: readonly Uint8Array[],
  ttlSeconds: number,
  rcode: number = DNS_RCODE.NOERROR,
): Buffer {
  const head = Buffer.from(query.subarray(0, parsed.questionEnd));
  head.writeUInt16BE(FLAG.QR | (parsed.isRecursionDesired ? FLAG.RD : 0) | FLAG.RA | rcode, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(addresses.length, 6);
  head.writeUInt32BE(0, 8);
  const records = addresses.map((ip) => {
    const record = Buffer.alloc(12 + ip.length);
    record.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
    record.writeUInt16BE(ip.length === 4 ? DNS_TYPE.A : DNS_TYPE.AAAA, 2);
    record.writeUInt16BE(CLASS_IN, 4);
    record.writeUInt32BE(ttlSeconds, 6);
    record.writeUInt16BE(ip.length, 10);
    record.set(ip, 12);
    return record;
  });
  return Buffer.concat([head, ...records]);
}

function readQuestion(message: Buffer) {
  if (message.length < HEADER_BYTES || message.readUInt16BE(4) !== 1) return null;
  const name = readName(message, HEADER_BYTES);
  if (name === null || name.end + 4 > message.length) return null;
  return {
    name: name.text,
    type: message.readUInt16BE(name.end),
    class: message.readUInt16BE(name.end + 2),
    questionEnd: name.end + 4,
  };
}

/** `counts`: where in the header the numbers of records of each section stand. */
function readRecords(message: Buffer, start: number, counts: readonly number[]) {
  const list: Record[] = [];
  let at = start;
  for (const count of counts) {
    for (let left = message.readUInt16BE(count); left > 0; left -= 1) {
      const record = readRecord(message, at);
      if (record === null) return null;
      list.push(record);
      at = record.dataEnd;
    }
  }
  return { list, end: at };
}

function readRecord(message: Buffer, start: number): Record | null {
  const name = readName(message, start);
  if (name === null || name.end + 10 > message.length) return null;
  const dataStart = name.end + 10;
  const dataEnd = dataStart + message.readUInt16BE(name.end + 8);
  if (dataEnd > message.length) return null;
  return {
    owner: name.text,
    type: message.readUInt16BE(name.end),
    class: message.readUInt16BE(name.end + 2),
    ttlOffset: name.end + 4,
    ttl: message.readUInt32BE(name.end + 4),
    dataStart,
    dataEnd,
  };
}

/** A pointer must lead to before the part of the name it ends, so that no chain of them comes back (RFC 1035, 4.1.4). */
function readName(message: Buffer, start: number): { text: string; end: number } | null {
  const labels: string[] = [];
  let bytes = 1;
  let at = start;
  let partStart = start;
  let end = -1;
  for (;;) {
    const length = message[at];
    if (length === undefined) return null;
    if (length === 0) break;
    if (length >= 0xc0) {
      const low = message[at + 1];
      if (low === undefined) return null;
      if (end < 0) end = at + 2;
      at = ((length & 0x3f) << 8) | low;
      if (at >= partStart || at < HEADER_BYTES) return null;
      partStart = at;
      continue;
    }
    if (length > 63 || at + 1 + length > message.length) return null;
    bytes += length + 1;
    if (bytes > MAX_NAME_BYTES) return null;
    labels.push(labelText(message.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  return { text: labels.join('.'), end: end < 0 ? at + 1 : end };
}

function labelText(label: Buffer): string {
  const text = label.toString('latin1');
  if (/^[a-z0-9_*-]*$/i.test(text)) return text.toLowerCase();
  return text
    .toLowerCase()
    .replace(/[^!-~]|[.\\]/g, (letter) => `\\${letter.charCodeAt(0).toString().padStart(3, '0')}`);
}

function encodeName(name: string): Buffer | null {
  const labels = name === '' ? [] : name.split('.').map((label) => Buffer.from(label));
  if (labels.some(({ length }) => length === 0 || length > 63)) return null;
  const encoded = Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)]);
  return encoded.length > MAX_NAME_BYTES ? null : encoded;
}

/** RFC 2308: an answer without records of its type holds as long as the zone's SOA says, and not at all without one. */
function ttlOf(
  message: Buffer,
  rcode: number,
  type: number,
  answers: readonly Record[],
  all: readonly Record[],
): number {
  if (rcode !== DNS_RCODE.NOERROR && rcode !== DNS_RCODE.NXDOMAIN) return 0;
  const ttls = all.map(({ ttl }) => (ttl > 0x7fff_ffff ? 0 : ttl));
  const isNegative = rcode === DNS_RCODE.NXDOMAIN || !answers.some((record) => record.type === type);
  if (isNegative) {
    const soa = all.find((record) => record.type === DNS_TYPE.SOA);
    if (soa === undefined || soa.dataEnd - soa.dataStart < 22) return 0;
    ttls.push(message.readUInt32BE(soa.dataEnd - 4));
  }
  return Math.min(MAX_TTL_SECONDS, ...ttls);
}

function addressesOf(message: Buffer, asked: string, answers: readonly Record[]): Uint8Array[] {
  const names = new Set([asked]);
  for (const record of answers) {
    if (record.type !== DNS_TYPE.CNAME || !names.has(record.owner)) continue;
    const target = readName(message, record.dataStart);
    if (target !== null) names.add(target.text);
  }
  const found = new Map<string, Uint8Array>();
  for (const { owner, type, dataStart, dataEnd } of answers) {
    const length = type === DNS_TYPE.A ? 4 : type === DNS_TYPE.AAAA ? 16 : 0;
    if (length === 0 || dataEnd - dataStart !== length || !names.has(owner)) continue;
    const ip = Buffer.from(message.subarray(dataStart, dataEnd));
    found.set(formatIp(ip), ip);
  }
  return [...found.values()];
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
