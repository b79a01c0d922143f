import { describe, expect, test } from 'vitest';
import { EndReason, LossReason } from '#proto/gen/v1/incoming.ts';
import { internet, toSocketAddress } from '#proto/socket-address.ts';
import { eventJson, eventText } from './dump-print.ts';
import { ConnectionView, type DumpEvent } from './dump-view.ts';

const at = (last: number, port: number) => toSocketAddress(internet(Buffer.from([10, 9, 9, last]), port));
const ARRIVED = {
  subscription: 1,
  peer: at(9, 4_000),
  local: at(4, 80),
  atNs: 1_800_000_000_000_000_000n,
  isOlder: false,
  creditBytes: 0,
  isForRequests: false,
  interface: 'eth0',
  tls: undefined,
};
const ENDED = {
  reason: EndReason.END_REASON_CLOSED,
  error: undefined,
  bytes: 100n,
  lostBytes: 0n,
  atNs: ARRIVED.atNs + 12_340_000n,
  isUnanswered: false,
};

function view(): { view: ConnectionView; events: DumpEvent[]; clock: { ms: number } } {
  const events: DumpEvent[] = [];
  const clock = { ms: 0 };
  return {
    view: new ConnectionView(
      7,
      ARRIVED,
      (event) => events.push(event),
      () => clock.ms,
    ),
    events,
    clock,
  };
}

const bytes = (text: string) => Buffer.from(text);

describe('a connection', () => {
  test('shows requests with their responses and how long they took', () => {
    const { view: connection, events, clock } = view();
    connection.data('request', bytes('GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n'));
    clock.ms = 12.5;
    connection.data('response', bytes('HTTP/1.1 100 Continue\r\n\r\n'));
    connection.data('response', bytes('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    clock.ms = 20;
    connection.data('response', bytes('HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n'));
    connection.end(ENDED);
    expect(events.map(eventText).join('')).toBe(
      [
        '## New TCP connection established: Connection ID 7 from 10.9.9.9:4000 to 10.9.9.4:80 on eth0',
        '## New HTTP request received: Request ID [7:1]\nGET /a HTTP/1.1\nHost: x\n',
        '## Request ID [7:1] request finished, body of 0 bytes',
        '## New HTTP request received: Request ID [7:2]\nGET /b HTTP/1.1\n',
        '## Request ID [7:2] request finished, body of 0 bytes',
        '## HTTP response: Request ID [7:1] after 12.5 ms\nHTTP/1.1 100 Continue\n',
        '## Request ID [7:1] response finished, body of 0 bytes',
        '## HTTP response: Request ID [7:1] after 12.5 ms\nHTTP/1.1 200 OK\nContent-Length: 2\n',
        '## Request ID [7:1] response: 2 bytes\nData:\nok',
        '## Request ID [7:1] response finished, body of 2 bytes',
        '## HTTP response: Request ID [7:2] after 20 ms\nHTTP/1.1 404 No\nContent-Length: 0\n',
        '## Request ID [7:2] response finished, body of 0 bytes',
        '## Connection ID 7 closed after 12.34 ms, 100 bytes',
        '',
      ].join('\n'),
    );
  });

  test('that is no HTTP shows its bytes, as text or in hex, and where some are missing', () => {
    const { view: connection, events } = view();
    connection.data('request', bytes('EHLO \x1b[31mx\r\n'));
    connection.data('response', Buffer.from([0xff, 0xfe, 0x00]));
    const gap = { bytes: 12n, datagrams: 0, reason: LossReason.LOSS_REASON_RING_FULL, offset: 0n, isAnswer: true };
    connection.gap(gap);
    connection.end({ ...ENDED, reason: EndReason.END_REASON_PEER_RESET, lostBytes: 12n });
    expect(events.slice(1).map(eventText)).toEqual([
      '## Connection ID 7: 13 bytes\nData:\nEHLO \\u001b[31mx\n',
      '## Connection ID 7 from the target: 3 bytes\nData (hex):\nfffe00\n',
      '## Connection ID 7 from the target: 12 bytes missing here: the capture could not keep up\n',
      '## Connection ID 7 reset by the peer after 12.34 ms, 100 bytes, 12 bytes lost\n',
    ]);
  });

  test('is one JSON object a line for programs', () => {
    const { view: connection, events } = view();
    connection.data('request', bytes('POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi'));
    connection.data('response', Buffer.from([0xff]));
    const lines = events.map((event) => JSON.parse(eventJson(event)));
    expect(lines).toEqual([
      {
        event: 'opened',
        connection: 7,
        at: '2027-01-15T08:00:00.000Z',
        from: '10.9.9.9:4000',
        to: '10.9.9.4:80',
        interface: 'eth0',
        tls: undefined,
        isOlder: false,
      },
      {
        event: 'request',
        connection: 7,
        request: 1,
        afterMs: null,
        firstLine: 'POST / HTTP/1.1',
        headers: [['Content-Length', '2']],
      },
      { event: 'body', connection: 7, request: 1, of: 'request', bytes: 2, data: 'hi' },
      { event: 'finished', connection: 7, request: 1, of: 'request', bodyBytes: 2 },
      { event: 'data', connection: 7, of: 'response', bytes: 1, base64: '/w==' },
    ]);
  });
});
