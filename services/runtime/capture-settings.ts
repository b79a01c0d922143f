// Settings of the sniffer's captures; the agent that starts one knows them, so that a wrong value is told at once.

import { integer, oneOf } from './settings.ts';

/** The best first: programs at the interfaces, one at a packet socket, and where the kernel refuses bpf(2). */
export const CAPTURE_METHODS = ['tcx', 'ebpf', 'classic'] as const;
export type CaptureMethod = (typeof CAPTURE_METHODS)[number];

export const CAPTURE_SETTINGS = {
  /** Of each target: packets that wait for us, connections that are followed, bytes out of order that are held. */
  ringBytes: integer('MIRRORD_SNIFFER_RING_BYTES', { min: 1 << 20, max: 1 << 29, fallback: 16 << 20 }),
  flows: integer('MIRRORD_SNIFFER_FLOWS', { min: 16, max: 1_000_000, fallback: 65_536 }),
  heldBytes: integer('MIRRORD_SNIFFER_HELD_BYTES', { min: 1 << 20, max: 1 << 30, fallback: 64 << 20 }),
  /** Of each target, by packets that are full of payload: what copying may take from it. More than a gigabit's way has. 0: all. */
  bulkBytesPerSecond: integer('MIRRORD_SNIFFER_BYTES_PER_SECOND', { min: 0, max: 2 ** 40, fallback: 128 << 20 }),
  /** The next one where the kernel has no such. */
  filter: oneOf('MIRRORD_SNIFFER_FILTER', CAPTURE_METHODS, 'tcx'),
  /** Where there is not CPU enough for both, the copy is late or lost, not the target slow. */
  nice: integer('MIRRORD_SNIFFER_NICE', { min: 0, max: 19, fallback: 10 }),
};
