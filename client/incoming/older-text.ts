// What is said of connections that began before the session: that they are waited for, and that they were made to come again.
// Pure.

import type { Renewed, Subscribed } from '#proto/gen/v1/incoming.ts';
import type { SocketAddress } from '#proto/gen/v1/network.ts';
import { addressText, fromSocketAddress } from '#proto/socket-address.ts';

/** Peers that are named; of the rest there is a count. */
const NAMED_PEERS = 8;

/** Behind "mirroring port 80"; empty when there is nothing to wait for. */
export function waitingText({ olderConnections, olderPeers }: Subscribed): string {
  if (olderConnections === 0) return '';
  return ` (waiting for ${older(olderConnections)} to come again${named(olderPeers, olderConnections)})`;
}

export function renewedLines(port: number, { connections, failed, reason, peers }: Renewed): string[] {
  const lines: string[] = [];
  if (connections > 0) {
    const whose = connections === 1 ? 'its peer' : 'their peers';
    lines.push(`port ${port}: closed ${older(connections)}, for ${whose} to come again${named(peers, connections)}`);
  }
  if (failed > 0) lines.push(`port ${port}: ${older(failed)} could not be closed: ${reason}`);
  return lines;
}

function older(count: number): string {
  return `${count} older connection${count === 1 ? '' : 's'}`;
}

function named(peers: readonly SocketAddress[], count: number): string {
  const texts = peers.slice(0, NAMED_PEERS).map((peer) => {
    const address = fromSocketAddress(peer);
    return address === null ? '?' : addressText(address);
  });
  if (texts.length === 0) return '';
  return `: ${texts.join(', ')}${count > texts.length ? ` and ${count - texts.length} more` : ''}`;
}
