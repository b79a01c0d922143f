import { expect, test } from 'vitest';
import { loadText } from '../testing/load-text.ts';
import { sessionFacts } from './facts.ts';

const incomingOf = async (incoming: unknown) => {
  const { config } = await loadText(JSON.stringify({ feature: { network: { incoming } } }));
  return sessionFacts('pod/shop', config).incoming;
};

test.each([
  ['mirror', 'mirror'],
  [false, 'off'],
  ['steal', 'steal everything'],
  [{ mode: 'steal', http_filter: { ports: [80] } }, 'steal everything'],
  [{ mode: 'steal', http_filter: { header_filter: '^a: b' } }, 'steal {"header_filter":"^a: b"}'],
  [{ mode: 'steal', http_filter: { header_filter_jq: 'test("a")' } }, 'steal {"header_filter_jq":"test(\\"a\\")"}'],
  [{ mode: 'steal', http_filter: { any_of: [{ path: '^/a' }] } }, 'steal {"any_of":[{"path":"^/a"}]}'],
])('%j is told as %s', async (incoming, text) => {
  expect(await incomingOf(incoming)).toBe(text);
});
