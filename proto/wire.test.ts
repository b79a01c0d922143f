import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodeFrame,
  RuleFlag,
  RuleOp,
  RuleVerdict,
  WIRE_BODY_MAX,
  WIRE_HEADER_BYTES,
  WIRE_LOCAL,
  WireCan,
  WireDecoder,
  WireError,
  WireFeature,
  type WireFrame,
  WireKind,
  WireOpened,
  WireSet,
  WireTransport,
} from './wire.ts';
import { BodyReader, BodyWriter } from './wire-body.ts';
import { decodeRequest } from './wire-client.ts';
import {
  decodeReply,
  decodeSetup,
  readDecision,
  readDirectory,
  readOpened,
  readStat,
  readStatFs,
  readStr,
} from './wire-supervisor.ts';

// Recipes and bytes: proto/vectors/README.md.
interface Vector {
  name: string;
  isBad: boolean;
  kind: WireKind;
  id: bigint;
  fields: string[];
  bytes: Buffer;
}

const folder = path.join(import.meta.dirname, 'vectors');
const vectors = readdirSync(folder)
  .filter((name) => name.endsWith('.hex'))
  .map(parseVector);
const good = vectors.filter((vector) => !vector.isBad);
const bad = vectors.filter((vector) => vector.isBad);

function parseVector(name: string): Vector {
  const [recipe = '', hex = ''] = readFileSync(path.join(folder, name), 'utf8').split('\nbytes\n');
  const lines = recipe.split('\n').filter((line) => !line.startsWith('#'));
  const [, kind = '0', id = '0'] = lines[0]?.split(' ') ?? [];
  return {
    name,
    isBad: lines[0] === 'bad',
    kind: Number(kind) as WireKind,
    id: BigInt(id),
    fields: lines.slice(1),
    bytes: Buffer.from(hex.replace(/\s/g, ''), 'hex'),
  };
}

function numeral(text: string): bigint {
  const digits = text.replace('-', '');
  const value = /^0[0-7]+$/.test(digits) ? BigInt(`0o${digits.slice(1)}`) : BigInt(digits);
  return text.startsWith('-') ? -value : value;
}

function writeField(body: BodyWriter, field: string): void {
  const space = field.indexOf(' ');
  const text = field.slice(space + 1);
  const n = /^[-\dx a-f]+$/i.test(text) ? text.split(' ').map((part) => (/^-?\d/.test(part) ? numeral(part) : 0n)) : [];
  const big = (i: number): bigint => n[i] ?? 0n;
  const num = (i: number): number => Number(big(i));
  const write: Record<string, () => unknown> = {
    u8: () => body.u8(num(0)),
    u16: () => body.u16(num(0)),
    u32: () => body.u32(num(0)),
    u64: () => body.u64(big(0)),
    i32: () => body.i32(num(0)),
    i64: () => body.i64(big(0)),
    str: () => body.str(Buffer.from(text)),
    blob: () => body.u32(Buffer.byteLength(text)).raw(Buffer.from(text)),
    raw: () => body.raw(Buffer.from(text)),
    stat: () =>
      body.stat({
        device: big(0),
        inode: big(1),
        mode: num(2),
        links: num(3),
        uid: num(4),
        gid: num(5),
        specialDevice: big(6),
        size: big(7),
        blockSize: num(8),
        blocks: big(9),
        accessedNs: big(10),
        modifiedNs: big(11),
        changedNs: big(12),
        bornNs: big(13),
      }),
    statfs: () =>
      body.statFs({
        type: big(0),
        blockSize: big(1),
        blocks: big(2),
        blocksFree: big(3),
        blocksAvailable: big(4),
        files: big(5),
        filesFree: big(6),
        id: big(7),
        nameLength: num(8),
        fragmentSize: big(9),
        flags: big(10),
      }),
    setattr: () =>
      body.setAttributes({
        valid: num(0),
        mode: num(1),
        uid: num(2),
        gid: num(3),
        size: big(4),
        accessedNs: big(5),
        modifiedNs: big(6),
      }),
  };
  write[field.slice(0, space)]?.();
}

// What each field of a recipe becomes when the body is read again and written anew.
function copyField(reader: BodyReader, body: BodyWriter, field: string): void {
  const copy: Record<string, () => unknown> = {
    u8: () => body.u8(reader.u8()),
    u16: () => body.u16(reader.u16()),
    u32: () => body.u32(reader.u32()),
    u64: () => body.u64(reader.u64()),
    i32: () => body.i32(reader.i32()),
    i64: () => body.i64(reader.i64()),
    str: () => body.str(reader.str()),
    blob: () => {
      const blob = reader.blob();
      body.u32(blob.length).raw(blob);
    },
    raw: () => body.raw(reader.rest()),
    stat: () => body.stat(reader.stat()),
    statfs: () => body.statFs(reader.statFs()),
    setattr: () => body.setAttributes(reader.setAttributes()),
  };
  copy[field.slice(0, field.indexOf(' '))]?.();
}

function decodeAll(...chunks: Buffer[]): WireFrame[] {
  const decoder = new WireDecoder();
  return chunks.flatMap((chunk) => decoder.push(chunk));
}

const frameOf = (vector: Vector): WireFrame => ({
  kind: vector.kind,
  id: vector.id,
  body: vector.bytes.subarray(WIRE_HEADER_BYTES),
});

describe('the vectors', () => {
  test('are all there, each kind once at least', () => {
    expect(new Set(good.map(({ kind }) => kind))).toEqual(new Set(Object.values(WireKind)));
    expect(bad.length).toBeGreaterThanOrEqual(3);
  });

  test.each(good)('$name is written as its recipe says', ({ kind, id, fields, bytes }) => {
    const body = new BodyWriter(1);
    for (const field of fields) writeField(body, field);
    expect(Buffer.concat(encodeFrame(kind, id, body.finish()))).toEqual(bytes);
  });

  test.each(good)('$name is read as its recipe says', (vector) => {
    const { body } = frameOf(vector);
    const reader = new BodyReader(body);
    const copy = new BodyWriter();
    for (const field of vector.fields) copyField(reader, copy, field);
    reader.end();
    expect(copy.finish()).toEqual(body);
  });

  test.each(good)('$name is the same frame split anywhere', (vector) => {
    for (let at = 0; at <= vector.bytes.length; at++) {
      expect(decodeAll(vector.bytes.subarray(0, at), vector.bytes.subarray(at))).toEqual([frameOf(vector)]);
    }
  });

  test.each(good)('$name cut short anywhere is not a body', (vector) => {
    if (vector.fields.at(-1)?.startsWith('raw')) return;
    for (let length = 0; length < vector.bytes.length - WIRE_HEADER_BYTES; length++) {
      const reader = new BodyReader(frameOf(vector).body.subarray(0, length));
      const copy = new BodyWriter();
      expect(() => {
        for (const field of vector.fields) copyField(reader, copy, field);
      }).toThrow(WireError);
    }
  });

  test.each(bad)('$name is refused when its header is whole', ({ bytes }) => {
    const decoder = new WireDecoder();
    expect(decoder.push(bytes.subarray(0, 15))).toEqual([]);
    expect(() => decoder.push(bytes.subarray(15, 16))).toThrow(WireError);
    expect(() => decoder.push(Buffer.alloc(1))).toThrow(WireError);
  });
});

describe('the decoder', () => {
  test('takes a stream in bytes as it takes it whole', () => {
    const stream = Buffer.concat(good.map(({ bytes }) => bytes));
    const expected = good.map(frameOf);
    expect(decodeAll(stream)).toEqual(expected);
    expect(decodeAll(...Array.from(stream, (byte) => Buffer.of(byte)))).toEqual(expected);
  });

  test('knows whether it stands between frames', () => {
    const decoder = new WireDecoder();
    const [header, body] = encodeFrame(WireKind.STARTED, 0n, Buffer.alloc(4));
    expect(decoder.isAtBoundary).toBe(true);
    decoder.push(header as Buffer);
    expect(decoder.isAtBoundary).toBe(false);
    decoder.push(body as Buffer);
    expect(decoder.isAtBoundary).toBe(true);
  });

  test('copies a bulk body once, however small its chunks are', () => {
    // A decoder that concatenates on every chunk would copy 2 GiB here and run into the test's deadline.
    const frame = Buffer.concat(encodeFrame(WireKind.REPLY, 1n, Buffer.alloc(WIRE_BODY_MAX, 7)));
    const decoder = new WireDecoder();
    const frames: WireFrame[] = [];
    for (let at = 0; at < frame.length; at += 1000) frames.push(...decoder.push(frame.subarray(at, at + 1000)));
    expect(frames).toHaveLength(1);
    expect(frames[0]?.body.equals(frame.subarray(WIRE_HEADER_BYTES))).toBe(true);
  });

  test('never throws anything but WireError, and never keeps more than a body', () => {
    const kinds = fc.constantFrom(...Object.values(WireKind), 0, 6, 99);
    const header = fc.tuple(fc.integer({ min: 0, max: 300 }), kinds, fc.constantFrom(0, 0, 0, 1)).map((fields) => {
      const bytes = Buffer.alloc(WIRE_HEADER_BYTES);
      bytes.writeUInt32LE(fields[0], 0);
      bytes.writeUInt16LE(fields[1], 4);
      bytes.writeUInt16LE(fields[2], 6);
      return bytes;
    });
    const noise = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
    fc.assert(
      fc.property(fc.array(fc.oneof(header, noise), { maxLength: 12 }), (chunks) => {
        const decoder = new WireDecoder();
        for (const chunk of chunks) onlyWireError(() => decoder.push(chunk).forEach(readAnyBody));
      }),
      { numRuns: 500 },
    );
  });
});

describe('bodies', () => {
  test('of noise are refused by WireError or read, whatever their kind', () => {
    const kinds = fc.constantFrom(...Object.values(WireKind));
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 300 }), (kind, bytes) => {
        readAnyBody({ kind, id: 1n, body: Buffer.from(bytes) });
      }),
      { numRuns: 2000 },
    );
  });

  test('of vectors with flipped bytes are refused by WireError or read', () => {
    fc.assert(
      fc.property(fc.constantFrom(...good), fc.nat(), fc.nat(255), (vector, at, value) => {
        const body = Buffer.from(frameOf(vector).body);
        if (body.length > 0) body[at % body.length] = value;
        readAnyBody({ kind: vector.kind, id: 1n, body });
      }),
      { numRuns: 2000 },
    );
  });

  test('with bytes left over are refused', () => {
    for (const { name, kind, bytes } of good) {
      if (kind === WireKind.REPLY || kind === WireKind.WRITE || kind === WireKind.SETUP) continue;
      const body = Buffer.concat([bytes.subarray(WIRE_HEADER_BYTES), Buffer.alloc(1)]);
      expect(() => decodeRequest(kind, body), name).toThrow(WireError);
    }
  });

  test('longer than a frame allows are not written', () => {
    expect(() => encodeFrame(WireKind.REPLY, 1n, Buffer.alloc(WIRE_BODY_MAX), Buffer.alloc(1))).toThrow(RangeError);
    expect(() => new BodyWriter().str(Buffer.alloc(65_536))).toThrow(RangeError);
  });
});

test('the numbers are those of layer/wire.h and layer/rules.h', () => {
  const header = ['wire.h', 'rules.h']
    .map((name) => readFileSync(path.join(import.meta.dirname, '../layer', name), 'utf8'))
    .join('\n');
  const numberOf = (name: string) => Number(new RegExp(`\\b${name} = (\\d+)`).exec(header)?.[1] ?? Number.NaN);
  const twins: [string, Record<string, number>][] = [
    ['WIRE_', WireKind],
    ['WIRE_OPENED_', WireOpened],
    ['WIRE_SET_', WireSet],
    ['WIRE_FEATURE_', WireFeature],
    ['WIRE_CAN_', WireCan],
    ['WIRE_TRANSPORT_', WireTransport],
    ['RULE_', RuleOp],
    ['RULE_', RuleFlag],
    ['VERDICT_', RuleVerdict],
  ];
  for (const [prefix, twin] of twins) {
    for (const [name, value] of Object.entries(twin)) expect(numberOf(prefix + name), prefix + name).toBe(value);
  }
  expect(header).toContain(`#define WIRE_LOCAL (${WIRE_LOCAL})`);
});

function onlyWireError(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
  }
}

function readAnyBody(frame: WireFrame): void {
  onlyWireError(() => decodeRequest(frame.kind, frame.body));
  onlyWireError(() => decodeSetup(frame));
  for (const read of [readOpened, readStat, readStatFs, readStr, readDirectory, readDecision]) {
    onlyWireError(() => read(decodeReply(frame).rest));
  }
}
