// The node's end of a port-forward, as far as a test needs it: the upgrade is granted, and the pod says its first bytes.

import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** Of SPDY, as `spdy-forward.ts` numbers them. */
const DATA_STREAM = 3;

export function isSpdy({ headers }: IncomingMessage): boolean {
  return headers.upgrade === 'SPDY/3.1';
}

/** `bytes`: fewer than 124. Returns what says more. */
export function grantForward(request: IncomingMessage, socket: Duplex, bytes: Buffer): (more: Buffer) => void {
  socket.on('error', () => undefined);
  if (isSpdy(request)) {
    socket.write('HTTP/1.1 101 yes\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n');
    socket.write(`x-stream-protocol-version: ${request.headers['x-stream-protocol-version']}\r\n\r\n`);
    const say = (more: Buffer) => {
      socket.write(Buffer.concat([Buffer.from([0, 0, 0, DATA_STREAM, 0, 0, 0, more.length]), more]));
    };
    say(bytes);
    return say;
  }
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`).digest('base64');
  socket.write('HTTP/1.1 101 yes\r\nconnection: upgrade\r\nupgrade: websocket\r\n');
  socket.write(`sec-websocket-accept: ${accept}\r\nsec-websocket-protocol: v4.channel.k8s.io\r\n\r\n`);
  // Both channels say their port, then the pod speaks.
  socket.write(Buffer.from([0x82, 3, 0, 0x38, 0xe0, 0x82, 3, 1, 0x38, 0xe0]));
  const say = (more: Buffer) => {
    socket.write(Buffer.concat([Buffer.from([0x82, 1 + more.length, 0]), more]));
  };
  say(bytes);
  return say;
}

export function refuseForward(socket: Duplex, status: number, message: string): void {
  const body = JSON.stringify({ kind: 'Status', status: 'Failure', code: status, message });
  socket.on('error', () => undefined);
  socket.end(`HTTP/1.1 ${status} no\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
}
