// What the bodies of wire frames are made of: numbers, strings and the structs of layer/wire.h. Paths are bytes: Linux
// does not promise UTF-8. Field names are those of fs_env.proto, so that an answer of fs-env is written as it is.
import { WireError } from './wire.ts';

export interface WireStat {
  device: bigint;
  inode: bigint;
  mode: number;
  links: number;
  uid: number;
  gid: number;
  specialDevice: bigint;
  size: bigint;
  blockSize: number;
  /** In units of 512 bytes. */
  blocks: bigint;
  accessedNs: bigint;
  modifiedNs: bigint;
  changedNs: bigint;
  bornNs: bigint;
}

export interface WireStatFs {
  type: bigint;
  blockSize: bigint;
  blocks: bigint;
  blocksFree: bigint;
  blocksAvailable: bigint;
  files: bigint;
  filesFree: bigint;
  id: bigint;
  nameLength: number;
  fragmentSize: bigint;
  flags: bigint;
}

export interface WireSetAttributes {
  /** WireSet bits: which of the fields below count. */
  valid: number;
  mode: number;
  uid: number;
  gid: number;
  size: bigint;
  accessedNs: bigint;
  modifiedNs: bigint;
}

export interface WireDirectoryEntry {
  inode: bigint;
  /** Continues after this entry. */
  cookie: bigint;
  /** DT_*. */
  type: number;
  name: Buffer;
  stat?: WireStat | undefined;
}

/** Bounded by the body: reading past its end throws WireError. Byte fields share the body's memory. */
export class BodyReader {
  readonly #body: Buffer;
  #at = 0;

  constructor(body: Buffer) {
    this.#body = body;
  }

  u8(): number {
    return this.#body.readUInt8(this.#take(1));
  }

  u16(): number {
    return this.#body.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#body.readUInt32LE(this.#take(4));
  }

  i32(): number {
    return this.#body.readInt32LE(this.#take(4));
  }

  u64(): bigint {
    return this.#body.readBigUInt64LE(this.#take(8));
  }

  i64(): bigint {
    return this.#body.readBigInt64LE(this.#take(8));
  }

  str(): Buffer {
    return this.bytes(this.u16());
  }

  blob(): Buffer {
    return this.bytes(this.u32());
  }

  rest(): Buffer {
    return this.bytes(this.#body.length - this.#at);
  }

  stat(): WireStat {
    const device = this.u64();
    const inode = this.u64();
    const mode = this.u32();
    const links = this.u32();
    const uid = this.u32();
    const gid = this.u32();
    const specialDevice = this.u64();
    const size = this.u64();
    const blockSize = this.u32();
    this.u32();
    const blocks = this.u64();
    const accessedNs = this.i64();
    const modifiedNs = this.i64();
    const changedNs = this.i64();
    const bornNs = this.i64();
    return {
      device,
      inode,
      mode,
      links,
      uid,
      gid,
      specialDevice,
      size,
      blockSize,
      blocks,
      accessedNs,
      modifiedNs,
      changedNs,
      bornNs,
    };
  }

  statFs(): WireStatFs {
    const type = this.u64();
    const blockSize = this.u64();
    const blocks = this.u64();
    const blocksFree = this.u64();
    const blocksAvailable = this.u64();
    const files = this.u64();
    const filesFree = this.u64();
    const id = this.u64();
    const nameLength = this.u32();
    this.u32();
    const fragmentSize = this.u64();
    const flags = this.u64();
    return {
      type,
      blockSize,
      blocks,
      blocksFree,
      blocksAvailable,
      files,
      filesFree,
      id,
      nameLength,
      fragmentSize,
      flags,
    };
  }

  setAttributes(): WireSetAttributes {
    const valid = this.u32();
    const mode = this.u32();
    const uid = this.u32();
    const gid = this.u32();
    const size = this.u64();
    const accessedNs = this.i64();
    const modifiedNs = this.i64();
    return { valid, mode, uid, gid, size, accessedNs, modifiedNs };
  }

  directoryEntry(): WireDirectoryEntry {
    const inode = this.u64();
    const cookie = this.u64();
    const type = this.u8();
    const hasStat = this.u8();
    const name = this.str();
    return { inode, cookie, type, name, stat: hasStat ? this.stat() : undefined };
  }

  /** A body says no more than its kind: bytes left over mean that the two sides disagree. */
  end(): void {
    if (this.#at !== this.#body.length) throw new WireError(`${this.#body.length - this.#at} bytes too many in a body`);
  }

  bytes(length: number): Buffer {
    const at = this.#take(length);
    return this.#body.subarray(at, at + length);
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (this.#body.length - at < bytes) throw new WireError(`a body of ${this.#body.length} bytes ends too early`);
    this.#at = at + bytes;
    return at;
  }
}

/** Grows by doubling; the result is what was written so far. */
export class BodyWriter {
  #buffer: Buffer;
  #at = 0;

  constructor(expectedBytes = 128) {
    this.#buffer = Buffer.allocUnsafe(expectedBytes);
  }

  u8(value: number): this {
    const at = this.#reserve(1);
    this.#buffer.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#reserve(2);
    this.#buffer.writeUInt16LE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#reserve(4);
    this.#buffer.writeUInt32LE(value, at);
    return this;
  }

  i32(value: number): this {
    const at = this.#reserve(4);
    this.#buffer.writeInt32LE(value, at);
    return this;
  }

  u64(value: bigint): this {
    const at = this.#reserve(8);
    this.#buffer.writeBigUInt64LE(value, at);
    return this;
  }

  i64(value: bigint): this {
    const at = this.#reserve(8);
    this.#buffer.writeBigInt64LE(value, at);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.#reserve(bytes.length);
    this.#buffer.set(bytes, at);
    return this;
  }

  /** Throws RangeError beyond 65,535 bytes. */
  str(bytes: Uint8Array): this {
    return this.u16(bytes.length).raw(bytes);
  }

  stat(stat: WireStat): this {
    return this.u64(stat.device)
      .u64(stat.inode)
      .u32(stat.mode)
      .u32(stat.links)
      .u32(stat.uid)
      .u32(stat.gid)
      .u64(stat.specialDevice)
      .u64(stat.size)
      .u32(stat.blockSize)
      .u32(0)
      .u64(stat.blocks)
      .i64(stat.accessedNs)
      .i64(stat.modifiedNs)
      .i64(stat.changedNs)
      .i64(stat.bornNs);
  }

  statFs(statFs: WireStatFs): this {
    return this.u64(statFs.type)
      .u64(statFs.blockSize)
      .u64(statFs.blocks)
      .u64(statFs.blocksFree)
      .u64(statFs.blocksAvailable)
      .u64(statFs.files)
      .u64(statFs.filesFree)
      .u64(statFs.id)
      .u32(statFs.nameLength)
      .u32(0)
      .u64(statFs.fragmentSize)
      .u64(statFs.flags);
  }

  setAttributes(set: WireSetAttributes): this {
    return this.u32(set.valid)
      .u32(set.mode)
      .u32(set.uid)
      .u32(set.gid)
      .u64(set.size)
      .i64(set.accessedNs)
      .i64(set.modifiedNs);
  }

  directoryEntry(entry: WireDirectoryEntry): this {
    this.u64(entry.inode)
      .u64(entry.cookie)
      .u8(entry.type)
      .u8(entry.stat ? 1 : 0)
      .str(entry.name);
    return entry.stat ? this.stat(entry.stat) : this;
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  // Before the buffer is named: it may be another one afterwards.
  #reserve(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, at + bytes));
      this.#buffer.copy(grown, 0, 0, at);
      this.#buffer = grown;
    }
    this.#at = at + bytes;
    return at;
  }
}
