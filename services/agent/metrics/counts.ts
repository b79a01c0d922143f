// What the agent has carried, counted where frames of sessions pass: by kind and id alone, nothing of a payload is read.

import { dataBytes, type Frame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { Counters, Gap } from '#proto/gen/v1/incoming.ts';
import { incomingServiceOf } from '#proto/incoming.ts';
import { decodeHead, type SessionHandlers } from '#proto/session-stream.ts';

type Way = 'outgoing' | 'mirror' | 'steal';

interface Carried {
  connections: number;
  toClient: number;
  fromClient: number;
  /** Bytes that could not be delivered: told within a connection, or of connections that never came. */
  lostBytes: number;
  lostConnections: number;
  lostPackets: number;
}

const nothing = (): Carried => ({
  connections: 0,
  toClient: 0,
  fromClient: 0,
  lostBytes: 0,
  lostConnections: 0,
  lostPackets: 0,
});

export class SessionCounts {
  sessions = 0;
  readonly ways: Readonly<Record<Way, Carried>> = { outgoing: nothing(), mirror: nothing(), steal: nothing() };

  /** Counts what a new session sends and gets. @returns the handlers to give its frames to */
  meter(stream: { send: (frame: Frame) => void }, open: () => SessionHandlers): SessionHandlers {
    this.sessions += 1;
    const send = stream.send.bind(stream);
    stream.send = (frame) => {
      this.#onSent(frame);
      send(frame);
    };
    const handlers = open();
    return {
      onFrame: (frame) => {
        this.#onReceived(frame);
        return handlers.onFrame(frame);
      },
      onClosed: (error) => handlers.onClosed(error),
      onParked: (isParked) => handlers.onParked?.(isParked),
    };
  }

  #wayOf(id: number): Carried {
    const service = incomingServiceOf(id);
    return this.ways[service === null ? 'outgoing' : service === 'sniffer' ? 'mirror' : 'steal'];
  }

  #onSent(frame: Frame): void {
    switch (frame.kind) {
      case FrameKind.FRAME_KIND_CONNECTED:
      case FrameKind.FRAME_KIND_ARRIVED:
        this.#wayOf(frame.id).connections += 1;
        this.#wayOf(frame.id).toClient += dataBytes(frame);
        return;
      case FrameKind.FRAME_KIND_DATA:
        this.#wayOf(frame.id).toClient += dataBytes(frame);
        return;
      case FrameKind.FRAME_KIND_GAP:
        this.#wayOf(frame.id).lostBytes += Number(decodeHead(Gap.decode, frame.head).bytes);
        return;
      case FrameKind.FRAME_KIND_LOSSES:
        for (const { connections, packets } of decodeHead(Counters.decode, frame.head).losses) {
          this.ways.mirror.lostConnections += Number(connections);
          this.ways.mirror.lostPackets += Number(packets);
        }
        return;
      default:
    }
  }

  #onReceived(frame: Frame): void {
    if (frame.kind === FrameKind.FRAME_KIND_DATA) this.#wayOf(frame.id).fromClient += dataBytes(frame);
  }
}
