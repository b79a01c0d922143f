// Heads as joined connections show them to filters, beside the heads that whoever else reads them shows: otherwise a request could
// pass by a filter that wants it. Those of HTTP/2 are held in request-head.test.ts.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Http1Request } from '#runtime/http/http1-request.ts';
import { readRequestHead } from '#runtime/http/message-head.ts';
import { NativeHead } from '../relay/native-head.ts';
import { stealerAddon } from './index.ts';

const octets = (most: number) =>
  fc.uint8Array({ maxLength: most }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const NAMES = ['Host', 'X-User', 'x', 'COOKIE', "!#$%&'*+-.^_`|~9Az", 'Content-Length'];
const SPACES = ['', ' ', '\t', ' \t '];
const values = fc.oneof(
  fc.constantFrom('alice', 'a: b', ':', '', '7', 'a\tb', '\u00e9', 'x y', 'v'.repeat(300)),
  octets(6),
);
const field = fc
  .tuple(fc.constantFrom(...NAMES), fc.constantFrom(...SPACES), values, fc.constantFrom(...SPACES))
  .map(([name, before, value, behind]) => `${name}:${before}${value}${behind}\r\n`);
const requests = fc
  .tuple(
    fc.constantFrom('GET', 'M-SEARCH', 'put'),
    fc.oneof(
      fc.constantFrom('/', '/a?b=c', '/\u00e9', '/:'),
      octets(4).map((text) => `/${text}`),
    ),
    fc.array(fc.oneof({ weight: 7, arbitrary: field }, fc.constant('Content-Length: 7\r\n')), { maxLength: 5 }),
    fc.constantFrom('', '', '1234567', '12'),
  )
  .map(([method, target, fields, body]) =>
    Buffer.from(`${method} ${target} HTTP/1.1\r\n${fields.join('')}\r\n${body}`, 'latin1'),
  );

test('the head of a plain request of HTTP/1 has method, target and lines as it has for everybody', () => {
  const addon = stealerAddon();
  const native = new NativeHead();
  const counts = { taken: 0, withBody: 0, partly: 0 };
  fc.assert(
    fc.property(requests, (bytes) => {
      if (!addon.takeHead(bytes, native.lines, native.facts)) {
        // Nothing that is plain is left to somebody else.
        expect(addon.isPlainRequest(bytes)).toBeNull();
        return;
      }
      native.begin();
      const head = readRequestHead(bytes, 0, bytes.length);
      if (typeof head === 'string') throw new Error(`it is ${head}`);
      const request = new Http1Request(head);
      const texts = [request.method, request.target, ...request.headerLines];
      expect([native.method, native.target, ...native.headerLines].join('\n')).toBe(texts.join('\n'));
      expect(native.lowerText).toBe(texts.join('\n').toLowerCase());
      expect(native.hasBody).toBe(/content-length: 0*[1-9]/.test(request.headerLines.join('\n')));
      counts.taken++;
      if (native.hasBody) counts.withBody++;
      if (head.fields.length > request.headerLines.length) counts.partly++;
    }),
    { numRuns: 10_000 },
  );
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(100);
});
