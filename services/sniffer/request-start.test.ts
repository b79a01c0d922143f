import { expect, test } from 'vitest';
import { firstRequestIn } from './request-start.ts';

const GET = 'GET /a HTTP/1.1\r\nHost: shop\r\n\r\n';
const startIn = (text: string): number => firstRequestIn(Buffer.from(text, 'latin1'));

test('a request is found behind the rest of a body, and behind what looks like one in there', () => {
  expect(startIn(`rest of a body${GET}`)).toBe(14);
  const lookalike = `${GET}and no request`;
  expect(startIn(`${lookalike}${GET}${GET}`)).toBe(lookalike.length);
  // Whole in itself, it hides the true one.
  const swallowing = `PUT /b HTTP/1.1\r\nHost: a\r\nContent-Length: ${GET.length + 1}\r\n\r\n-`;
  expect(startIn(`${swallowing}${GET}\x01`)).toBe(-1);
  expect(startIn(`${swallowing}-- ${GET}`)).toBe(swallowing.length + 3);
  expect(startIn(`no request, and none begun`)).toBe(-1);
  expect(startIn('GET /a HTTP/1.1\r\nHost: sh')).toBe(-1);
});

test('a body of nothing but what looks like requests is read through once', { timeout: 30_000 }, () => {
  const many = GET.repeat(8_000);
  expect(startIn(`${many}\x01 no request\r\n\r\n`)).toBe(-1);
  expect(startIn('GET / HTTP/1.1\r\n'.repeat(16_000))).toBe(-1);
  expect(startIn(`\r\n${many}`)).toBe(2);
});
