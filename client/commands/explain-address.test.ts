import { expect, test } from 'vitest';
import type { Config } from '../config/schema/root.ts';
import { keepTerminal } from '../testing/terminal.ts';
import { explain } from './explain.ts';
import { addressToText, explainAddress, faultOfWord, isAddress } from './explain-address.ts';

type Filter = { side: 'local' | 'remote'; entries: string[] } | null;

function config(
  outgoing: { filter?: Filter; unix_streams?: string[]; udp?: boolean; ignore_localhost?: boolean } = {},
  dns = true,
): Config {
  return {
    feature: {
      network: {
        outgoing: { tcp: true, udp: true, ignore_localhost: false, filter: null, unix_streams: [], ...outgoing },
        dns: { enabled: dns, filter: null },
        ipv6: true,
      },
    },
    experimental: { tcp_ping4_mock: false },
  } as unknown as Config;
}

const text = (word: string, one: Config) => addressToText(explainAddress(word, one));

test.each(['db:5432', 'tcp://db:1', 'UDP://10.0.0.1:53', '[fd00::1]:80', 'unix:/run/x', 'unix:@name'])(
  '%s is an address',
  (word) => expect(isAddress(word)).toBe(true),
);

test.each(['/etc/hosts', './db:5432', 'a/b:1', 'db', 'db:', 'db:70000', 'http://db:80', ':53'])(
  '%s is a path',
  (word) => expect(isAddress(word)).toBe(false),
);

test.each([
  ['', 'a path is empty'],
  ['db:70000', '"db:70000" is no HOST:PORT, with a port up to 65535; a file of that name is "./db:70000"'],
  [
    '10.0.0.1:http',
    '"10.0.0.1:http" is no HOST:PORT, with a port up to 65535; a file of that name is "./10.0.0.1:http"',
  ],
  ['http://db:80', '"http://db:80" is neither a path nor an address: tcp:// or udp:// and HOST:PORT'],
])('%j is neither a path nor an address', (word, fault) => expect(faultOfWord(word)).toBe(fault));

test.each(['/etc/hosts', './db:70000', 'a/b:1', 'db'])('%s is a path by its look', (word) =>
  expect(faultOfWord(word)).toBeNull(),
);

test('an address is told with where it goes over each transport, and by which rule', () => {
  expect(text('10.0.0.1:80', config({ udp: false }))).toBe(
    [
      '10.0.0.1:80',
      '  tcp    in the target: feature.network.outgoing.tcp',
      '  udp    here: feature.network.outgoing.udp is false',
      '',
    ].join('\n'),
  );
});

test('a name is told with where it is looked up, and what its addresses may change', () => {
  const filter: Filter = { side: 'local', entries: ['db.internal:5432', '10.0.0.0/8'] };
  expect(text('tcp://db.internal:5432', config({ filter }))).toBe(
    [
      'tcp://db.internal:5432',
      '  name   here: feature.network.outgoing.filter local db.internal',
      '  tcp    here: feature.network.outgoing.filter local db.internal:5432',
      '',
    ].join('\n'),
  );
  expect(text('tcp://db.internal:5433', config({ filter }))).toContain(
    'in the target: feature.network.outgoing.filter: not in the list local; unless an address of it is in 10.0.0.0/8',
  );
  expect(text('tcp://other:1', config({}, false))).toContain('name   here: feature.network.dns.enabled is false');
  expect(text('localhost:1', config())).not.toContain('name');
});

test('a name is no localhost, and port 53 of one is DNS', () => {
  const settings = config({ ignore_localhost: true, udp: false });
  expect(text('db:5432', settings)).toContain('tcp    in the target');
  expect(text('localhost:5432', settings)).toContain('tcp    here: feature.network.outgoing.ignore_localhost');
  expect(text('udp://names:53', settings)).toContain('in the target: feature.network.dns: port 53');
});

test('a unix socket is told by its pattern', () => {
  expect(text('unix:@bus', config({ unix_streams: ['^bus$'] }))).toContain('unix   in the target');
  expect(text('unix:/run/x', config())).toContain('unix   here');
});

test('mirrord explain takes paths and addresses together', async () => {
  const terminal = keepTerminal('/code/app', { HOME: '/home/u' });
  await explain({ words: ['/etc/hosts', '10.0.0.1:80'], flags: {}, overrides: {} }, terminal);
  expect(terminal.outText).toContain('/etc/hosts\n  read ');
  expect(terminal.outText).toContain('10.0.0.1:80\n  tcp ');
});
