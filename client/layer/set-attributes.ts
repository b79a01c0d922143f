// What the supervisor wants set, as the target is told: a bit mask with fields becomes fields that are there or not.

import type { SetAttributes, Time } from '#proto/gen/v1/fs_env.ts';
import { WireSet } from '#proto/wire.ts';
import type { WireSetAttributes } from '#proto/wire-body.ts';

export type Attributes = Pick<SetAttributes, 'mode' | 'uid' | 'gid' | 'size' | 'accessed' | 'modified'>;

export function attributesOf(set: WireSetAttributes): Attributes {
  const attributes: Attributes = {};
  if (set.valid & WireSet.MODE) attributes.mode = set.mode;
  if (set.valid & WireSet.UID) attributes.uid = set.uid;
  if (set.valid & WireSet.GID) attributes.gid = set.gid;
  if (set.valid & WireSet.SIZE) attributes.size = set.size;
  const accessed = timeOf(set.valid, WireSet.ATIME, WireSet.ATIME_NOW, set.accessedNs);
  const modified = timeOf(set.valid, WireSet.MTIME, WireSet.MTIME_NOW, set.modifiedNs);
  if (accessed !== undefined) attributes.accessed = accessed;
  if (modified !== undefined) attributes.modified = modified;
  return attributes;
}

/** The kernel sets both bits for UTIME_NOW (FUSE_SETATTR), so that NOW is looked at first. */
function timeOf(valid: number, atBit: number, nowBit: number, atNs: bigint): Time | undefined {
  if (valid & nowBit) return { when: { $case: 'now', value: true } };
  return valid & atBit ? { when: { $case: 'atNs', value: atNs } } : undefined;
}
