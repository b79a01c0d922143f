import { expect, test } from 'vitest';
import { parseProxy, proxyFromEnvironment } from './proxy.ts';

const through = (server: string, env: NodeJS.ProcessEnv) => proxyFromEnvironment(new URL(server), env)?.host ?? null;

test('https servers go through HTTPS_PROXY, http servers through HTTP_PROXY, in upper or lower case', () => {
  const env = { HTTPS_PROXY: 'http://s.test:1', http_proxy: 'p.test:2' };
  expect(through('https://api.test', env)).toBe('s.test');
  expect(through('http://api.test', env)).toBe('p.test');
  expect(through('https://api.test', { http_proxy: 'p.test' })).toBe(null);
});

test.each([
  ['*', true],
  ['api.test', true],
  ['test', true],
  ['.test', true],
  ['*.test', true],
  ['.api.test', false],
  ['pi.test', false],
  ['other.test, API.TEST', true],
  ['api.test:6443', true],
  ['api.test:443', false],
  ['', false],
])('NO_PROXY=%s for api.test:6443: %s', (list, isExcepted) => {
  const found = through('https://api.test:6443', { HTTPS_PROXY: 'http://p.test', NO_PROXY: list });
  expect(found === null).toBe(isExcepted);
});

test.each([
  ['https://10.1.2.3', '10.0.0.0/8', true],
  ['https://10.1.2.3', '10.1.2.3', true],
  ['https://10.1.2.3', '10.1.2.0/30', true],
  ['https://11.1.2.3', '10.0.0.0/8', false],
  ['https://10.1.2.3', '10.0.0.0/99', false],
  ['https://[fd00::1]:6443', 'fd00::/8', true],
  ['https://[fd00::1]:6443', '[fd00::1]:6443', true],
  ['https://[fd00::1]:6443', 'fd00::1', true],
  ['https://[fd00::1]:6443', '10.0.0.0/8', false],
])('%s with NO_PROXY=%s: %s', (server, list, isExcepted) => {
  expect(through(server, { HTTPS_PROXY: 'http://p.test', NO_PROXY: list }) === null).toBe(isExcepted);
});

test.each(['https://localhost:6443', 'https://127.0.0.1', 'https://[::1]'])('%s never goes through one', (server) => {
  expect(through(server, { HTTPS_PROXY: 'http://p.test' })).toBe(null);
});

test('user and password are taken from the address, and shown by no error', () => {
  expect(parseProxy('https://me:p%40ss@p.test', 'x')).toEqual({
    kind: 'https',
    host: 'p.test',
    port: 443,
    user: { name: 'me', password: 'p@ss' },
  });
  expect(() => parseProxy('ftp://me:secret@p.test', 'HTTPS_PROXY')).toThrow('HTTPS_PROXY is no address of a proxy');
  expect(() => parseProxy('ftp://me:secret@p.test', 'HTTPS_PROXY')).not.toThrow('secret');
});
