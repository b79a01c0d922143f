// Writes header blocks that change no table: indexes of static fields and literals without indexing. Whatever the receiver's
// dynamic table holds, they mean the same.

import { type HeaderField, STATIC_FIELDS } from './hpack-table.ts';

const wholeIndexes = new Map<string, number>();
const nameIndexes = new Map<string, number>();
for (const [at, { name, value }] of STATIC_FIELDS.entries()) {
  if (value !== '') wholeIndexes.set(`${name}\n${value}`, at + 1);
  if (!nameIndexes.has(name)) nameIndexes.set(name, at + 1);
}

const integerBytes = (value: number, most: number): number => {
  if (value < most) return 1;
  let bytes = 2;
  for (let rest = value - most; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
};

function writeInteger(out: Buffer, start: number, pattern: number, most: number, value: number): number {
  let at = start;
  if (value < most) {
    out[at++] = pattern | value;
    return at;
  }
  out[at++] = pattern | most;
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out[at++] = 0x80 | (rest % 128);
  out[at++] = rest;
  return at;
}

function writeText(out: Buffer, start: number, text: string): number {
  const at = writeInteger(out, start, 0, 0x7f, text.length);
  return at + out.write(text, at, 'latin1');
}

/** @param tableSizes changes of the table's size to begin with */
export function encodeHeaderBlock(fields: readonly HeaderField[], tableSizes: readonly number[] = []): Buffer {
  let most = 0;
  for (const size of tableSizes) most += integerBytes(size, 0x1f);
  for (const { name, value } of fields) {
    most += 1 + integerBytes(name.length, 0x7f) + name.length + integerBytes(value.length, 0x7f) + value.length + 1;
  }
  const out = Buffer.allocUnsafe(most);
  let at = 0;
  for (const size of tableSizes) at = writeInteger(out, at, 0x20, 0x1f, size);
  for (const { name, value, isSecret } of fields) {
    const whole = isSecret ? undefined : wholeIndexes.get(`${name}\n${value}`);
    if (whole !== undefined) {
      out[at++] = 0x80 | whole;
      continue;
    }
    const index = nameIndexes.get(name) ?? 0;
    at = writeInteger(out, at, isSecret ? 0x10 : 0, 0x0f, index);
    if (index === 0) at = writeText(out, at, name);
    at = writeText(out, at, value);
  }
  return out.subarray(0, at);
}

/** A field that nobody has to hide. */
export const field = (name: string, value: string): HeaderField => ({ name, value, isSecret: false });
