// Events of traffic as lines: text for people, one JSON object a line for programs. Pure.

import { isUtf8 } from 'node:buffer';
import { bytesText } from '../incoming/tally.ts';
import { printable } from '../printable.ts';
import type { DumpEvent } from './dump-view.ts';

/** Of one body or piece of data; the rest is only counted. */
const SHOWN_BYTES = 16 * 1024;

export function eventText(event: DumpEvent): string {
  switch (event.event) {
    case 'opened': {
      const older = event.isOlder ? ' (began before; its beginning is missing)' : '';
      const from = `${event.from} to ${event.to}${event.interface === '' ? '' : ` on ${event.interface}`}`;
      return `## New TCP connection established: Connection ID ${event.connection} from ${from}${older}\n`;
    }
    case 'head': {
      const id = `[${event.connection}:${event.request}]`;
      const after = event.afterMs === null ? '' : ` after ${event.afterMs} ms`;
      const what = event.of === 'request' ? 'New HTTP request received: Request ID' : 'HTTP response: Request ID';
      const lines = [event.head.firstLine, ...event.head.headers.map(([name, value]) => `${name}: ${value}`)];
      return `## ${what} ${id}${after}\n${printable(`${lines.join('\n')}\n`)}\n`;
    }
    case 'body':
      return `## Request ID [${event.connection}:${event.request}] ${event.of}: ${dataText(event.data)}`;
    case 'finished':
      return `## Request ID [${event.connection}:${event.request}] ${event.of} finished, body of ${bytesText(event.bodyBytes)}\n`;
    case 'data': {
      const from = event.of === 'response' ? ' from the target' : '';
      return `## Connection ID ${event.connection}${from}: ${dataText(event.data)}`;
    }
    case 'gap': {
      const bytes = event.bytes === 0 ? 'bytes' : bytesText(event.bytes);
      const from = event.of === 'response' ? ' from the target' : '';
      return `## Connection ID ${event.connection}${from}: ${bytes} missing here: ${event.why}\n`;
    }
    case 'closed': {
      const lost = event.lostBytes > 0 ? `, ${bytesText(event.lostBytes)} lost` : '';
      return `## Connection ID ${event.connection} ${event.how} after ${event.tookMs} ms, ${bytesText(event.bytes)}${lost}\n`;
    }
  }
}

/** `data` is text where it is UTF-8, else base64 in `base64`. */
export function eventJson(event: DumpEvent): string {
  if (event.event === 'head') {
    const { head, of, ...rest } = event;
    return line({ ...rest, event: of, firstLine: head.firstLine, headers: head.headers });
  }
  if (!('data' in event)) return line(event);
  const { data, ...rest } = event;
  const content = isUtf8(data) ? { data: data.toString() } : { base64: data.toString('base64') };
  return line({ ...rest, bytes: data.length, ...content });
}

function line(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

function dataText(data: Buffer): string {
  const shown = data.subarray(0, SHOWN_BYTES);
  const more = data.length > shown.length ? `… and ${bytesText(data.length - shown.length)} more\n` : '';
  if (isUtf8(data)) {
    const text = printable(shown.toString().replaceAll('\r\n', '\n'));
    return `${bytesText(data.length)}\nData:\n${text}${text.endsWith('\n') ? '' : '\n'}${more}`;
  }
  return `${bytesText(data.length)}\nData (hex):\n${shown.toString('hex').replace(/(.{64})/g, '$1\n')}\n${more}`;
}
