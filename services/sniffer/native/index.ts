// The typed door to the addon; the only file that loads it. Same names and order as in addon.cc. A wrong argument throws;
// what the kernel says is an errno in the answer.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

declare const kind: unique symbol;

/** A running capture, until `close`. */
export interface NativeCapture {
  readonly [kind]: 'capture';
}

export interface CaptureOptions {
  /** Of /proc/PID/ns/net. Duplicated. */
  namespaceFd: number;
  /** False: the classic filter, as where the kernel refuses bpf(2). */
  wantsEbpf: boolean;
  /** False: a packet socket, as before Linux 6.6. */
  wantsTaps: boolean;
  ringBytes: number;
  /** Of packets that are full of payload; beyond it they come without. 0: all. */
  bulkBytesPerSecond: number;
  /** What the kernel has taken is read at least so often. */
  retireMs: number;
  /** Batches not yet taken; above it the ring fills. */
  waitingBytes: number;
  flows: number;
  /** Bytes out of order, of all flows and of one direction of one. */
  heldBytes: number;
  heldBytesOfStream: number;
}

export interface OpenedCapture {
  errno: number;
  /** What failed. */
  step: string;
  /** null with an errno. */
  capture: NativeCapture | null;
  isEbpf: boolean;
  /** Packets are taken at the interfaces. */
  hasTaps: boolean;
  /** Why it is not eBPF. */
  refusal: string;
}

export interface NativeRule {
  samplePerMillion: number;
  connectionBytes: number;
  bytesPerSecond: number;
  wantsAnswers: boolean;
  fromAnywhere: boolean;
  /** At most 16 of at most 32 bytes: `GET /a`, or ` /a` for any method. */
  requestPrefixes: string[];
}

export type NativeCounters = Readonly<
  Record<
    | 'packets'
    | 'ringLosses'
    | 'truncated'
    | 'fragments'
    | 'fragmentedDatagrams'
    | 'fragmentsAgain'
    | 'overlappingDatagrams'
    | 'incompleteDatagrams'
    | 'lostFragments'
    | 'foreignFragments'
    | 'malformed'
    | 'badChecksums'
    | 'wakeups'
    | 'pauses'
    | 'flows'
    | 'heldBytes'
    | 'connections'
    | 'fromMiddle'
    | 'older'
    | 'refused'
    | 'noRoom'
    | 'evicted'
    | 'redirected'
    | 'lateSegments'
    | 'straySegments'
    | 'secondInterface'
    | 'duplicateBytes'
    | 'outOfOrderSegments'
    | 'unplaceableSegments'
    | 'resyncs'
    | 'kernelPackets'
    | 'bareAcknowledgements'
    | 'notSampledConnections'
    | 'notSampledPackets'
    | 'refusedConnections'
    | 'refusedBytes'
    | 'prefilteredPackets'
    | 'prefilteredBytes'
    | 'cappedBytes'
    | 'bulkBytes'
    | 'muted'
    | 'mutedBytes',
    number
  >
>;

interface Addon {
  /** `onBatch` gets events (events.ts), each buffer once and for keeps. */
  open(options: CaptureOptions, onBatch: (batch: Buffer) => void): OpenedCapture;
  /** 0 or an errno. Protocol: 6 or 17. */
  setPort(capture: NativeCapture, protocol: number, port: number, rule: NativeRule): number;
  /** Its connections are closed: their events come. */
  removePort(capture: NativeCapture, protocol: number, port: number): number;
  counters(capture: NativeCapture): NativeCounters;
  /**
   * What passed for a port and found the ring full, up to the last mark that was told; bytes are payload to the port,
   * connections those whose SYN is among it. Less the same from before is what was lost since. Zero without eBPF. `leftOut`: requests
   * that were seen not to begin with one of the prefixes, by now.
   */
  lostOf(
    capture: NativeCapture,
    protocol: number,
    port: number,
  ): Record<'packets' | 'connections' | 'bytes' | 'leftOut', number>;
  /** An event of that number follows those of every packet that has been captured by now. */
  mark(capture: NativeCapture, number: number): void;
  /** Nobody wants more of this flow: no event of it comes any more, and when it begins a request, it is opened anew. */
  mute(capture: NativeCapture, flow: number): void;
  /** It has ended. True when nobody saw how: then a gap of unknown size, and its end; else only its holes are given up. */
  endFlow(capture: NativeCapture, flow: number): boolean;
  /** True when this process leads its session, from now on if need be: its scheduling group is its own. */
  ownSession(): boolean;
  /** An errno when the thread has failed after its start. */
  failure(capture: NativeCapture): number;
  /** Batches that are on their way are dropped. The capture is none any more. */
  close(capture: NativeCapture): void;
}

function load(): Addon {
  // From the sources, and from the bundle in dist/.
  const places = ['../build/sniffer.node', '../services/sniffer/build/sniffer.node'].map((place) =>
    fileURLToPath(new URL(place, import.meta.url)),
  );
  const path = places.find((place) => existsSync(place));
  if (path === undefined) throw new Error(`sniffer.node is not built: none of ${places.join(', ')}`);
  return createRequire(import.meta.url)(path) as Addon;
}

export const native = load();
