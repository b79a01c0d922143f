import { describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { type Address, formatIp, type InternetAddress, internet, parseIp } from '#proto/socket-address.ts';
import { WireTransport } from '#proto/wire.ts';
import type { Config } from '../config/schema/root.ts';
import { DnsFilter } from './dns-filter.ts';
import { type NameBook, OutgoingFilter } from './outgoing-filter.ts';

type Network = Config['feature']['network'];
type Filter = { side: 'local' | 'remote'; entries: string[] } | null;

const { TCP, UDP, UNIX_STREAM } = WireTransport;
const NO_NAMES: NameBook = { isAddressOf: () => null };
const at = (ip: string, port: number): InternetAddress => internet(parseIp(ip) as Uint8Array, port);
const unix = (path: string): Address => ({ kind: 'unix', path: Buffer.from(path) });

function settings(changes: Partial<Network['outgoing']> = {}, dns: Partial<Network['dns']> = {}, ipv6 = true): Network {
  return {
    outgoing: { tcp: true, udp: true, ignore_localhost: false, filter: null, unix_streams: [], ...changes },
    dns: { enabled: true, filter: null, ...dns },
    ipv6,
  } as unknown as Network;
}

const CONTEXT = { targetNameServers: [at('10.96.0.10', 53)], localNameServers: [at('192.168.1.1', 53)] };

function compile(network: Network, mocksPing = false): OutgoingFilter {
  return OutgoingFilter.compile(network, CONTEXT, mocksPing);
}

function where(network: Network, peer: Address, transport: WireTransport = TCP, names = NO_NAMES): string {
  return compile(network).decide(peer, transport, names).where;
}

describe('without a filter', () => {
  test.each([
    ['everything goes to the target', settings(), at('10.0.0.1', 80), TCP, 'remote'],
    ['its localhost too', settings(), at('127.0.0.1', 80), TCP, 'remote'],
    ['but for port 0', settings(), at('10.0.0.1', 0), TCP, 'local'],
    ['or for multicast', settings(), at('224.0.0.251', 5353), UDP, 'local'],
    ['of both families', settings(), at('ff02::fb', 5353), UDP, 'local'],
    ['or broadcast', settings(), at('255.255.255.255', 67), UDP, 'local'],
    ['or with ignore_localhost', settings({ ignore_localhost: true }), at('127.5.0.1', 80), TCP, 'local'],
    ['and IPv6 localhost', settings({ ignore_localhost: true }), at('::1', 80), TCP, 'local'],
    ['and the unspecified address', settings({ ignore_localhost: true }), at('0.0.0.0', 80), TCP, 'local'],
    ['others not', settings({ ignore_localhost: true }), at('10.0.0.1', 80), TCP, 'remote'],
    ['TCP can be off', settings({ tcp: false }), at('10.0.0.1', 80), TCP, 'local'],
    ['without UDP', settings({ tcp: false }), at('10.0.0.1', 80), UDP, 'remote'],
    ['UDP can be off', settings({ udp: false }), at('10.0.0.1', 80), UDP, 'local'],
    ['port 53 is not UDP', settings({ udp: false }), at('10.0.0.1', 53), UDP, 'remote'],
    ['but of localhost', settings({ udp: false }), at('127.0.0.1', 53), UDP, 'local'],
    ['unix sockets are local', settings(), unix('/run/x'), UNIX_STREAM, 'local'],
    ['but those named', settings({ unix_streams: ['^/run/x'] }), unix('/run/x.sock'), UNIX_STREAM, 'remote'],
    ['also abstract ones', settings({ unix_streams: ['^name$'] }), unix('\0name'), UNIX_STREAM, 'remote'],
    ['unnamed ones never', settings({ unix_streams: ['.*'] }), unix(''), UNIX_STREAM, 'local'],
  ] as const)('%s', (_name, network, peer, transport, expected) => {
    expect(where(network, peer, transport)).toBe(expected);
  });

  test('IPv6 can be off, as for a kernel without it', () => {
    const filter = compile(settings({}, {}, false));
    expect(filter.decide(at('fd00::1', 80), TCP, NO_NAMES)).toMatchObject({
      where: 'refuse',
      errno: ERRNO.EAFNOSUPPORT,
    });
    expect(filter.decide(at('::ffff:10.0.0.1', 80), TCP, NO_NAMES).where).toBe('remote');
  });

  test('port 7 is mocked where that is asked for', () => {
    expect(compile(settings(), true).decide(at('10.0.0.1', 7), TCP, NO_NAMES).where).toBe('mock');
    expect(compile(settings(), true).decide(at('10.0.0.1', 7), UDP, NO_NAMES).where).toBe('remote');
    expect(compile(settings()).decide(at('10.0.0.1', 7), TCP, NO_NAMES).where).toBe('remote');
  });
});

describe('a filter', () => {
  const remote = (...entries: string[]) => settings({ filter: { side: 'remote', entries } });
  const local = (...entries: string[]) => settings({ filter: { side: 'local', entries } });
  const book: NameBook = { isAddressOf: (name, ip) => (name === 'db.internal' ? formatIp(ip) === '10.0.0.5' : null) };

  test.each([
    [remote('10.0.0.0/8'), at('10.1.2.3', 80), TCP, 'remote'],
    [remote('10.0.0.0/8'), at('11.1.2.3', 80), TCP, 'local'],
    [local('10.0.0.0/8'), at('10.1.2.3', 80), TCP, 'local'],
    [local('10.0.0.0/8'), at('11.1.2.3', 80), TCP, 'remote'],
    [remote(':5432'), at('1.1.1.1', 5432), TCP, 'remote'],
    [remote(':5432'), at('1.1.1.1', 5433), TCP, 'local'],
    [remote('tcp://'), at('1.1.1.1', 1), TCP, 'remote'],
    [remote('tcp://'), at('1.1.1.1', 1), UDP, 'local'],
    [local('udp://:123', '10.0.0.1'), at('1.1.1.1', 123), UDP, 'local'],
    [remote('db.internal'), at('10.0.0.5', 80), TCP, 'remote'],
    [remote('DB.internal.:80'), at('10.0.0.5', 80), TCP, 'remote'],
    [remote('db.internal'), at('10.0.0.6', 80), TCP, 'local'],
    [local('db.internal:5432'), at('10.0.0.5', 5432), TCP, 'local'],
    [local('db.internal:5432'), at('10.0.0.5', 80), TCP, 'remote'],
    [local('[fd00::]/8'), at('fd12::1', 80), TCP, 'local'],
    [local('10.96.0.10'), at('10.96.0.10', 53), UDP, 'remote'],
  ] as const)('%j', (network, peer, transport, expected) => {
    expect(where(network, peer, transport, book)).toBe(expected);
  });

  test('tells its rule', () => {
    expect(compile(local('db.internal')).decide(at('10.0.0.5', 80), TCP, book).rule).toBe(
      'feature.network.outgoing.filter local db.internal',
    );
  });

  test('asks for names that are not known and would matter', () => {
    const filter = compile(local('other', 'tcp://third:9', '10.0.0.0/8'));
    expect(filter.unresolved(at('11.0.0.1', 80), TCP, book)).toEqual(['other']);
    expect(filter.unresolved(at('11.0.0.1', 9), TCP, book)).toEqual(['other', 'third']);
    expect(filter.unresolved(at('10.0.0.1', 80), TCP, book)).toEqual([]);
    expect(filter.unresolved(at('10.96.0.10', 53), UDP, book)).toEqual([]);
  });

  test('of which nothing can fit is refused', () => {
    const off = (entries: string[]) => settings({ udp: false, filter: { side: 'remote', entries } as Filter });
    expect(() => compile(off([]))).toThrow('is empty');
    expect(() => compile(off(['udp://10.0.0.1']))).toThrow('switched off');
    expect(where(off(['udp://10.0.0.1', '10.0.0.2']), at('10.0.0.2', 1))).toBe('remote');
    expect(compile(settings({ tcp: false, udp: false, filter: { side: 'local', entries: [] } })).isOn).toBe(true);
  });
});

describe('names looked up here', () => {
  test("are asked at this machine's name server", () => {
    const decision = compile(settings({}, { enabled: false })).decide(at('10.96.0.10', 53), UDP, NO_NAMES);
    expect(decision).toMatchObject({ where: 'local', localAddress: at('192.168.1.1', 53) });
  });
});

describe('the filter of names', () => {
  const dnsFilter = (outgoing: Filter, dns: Filter) =>
    new DnsFilter(settings({ filter: outgoing }, { filter: dns }), ['shop.svc.cluster.local', 'cluster.local']);
  const of = (outgoing: Filter, dns: Filter, name: string) => dnsFilter(outgoing, dns).decide(name).where;
  const local = (...entries: string[]): Filter => ({ side: 'local', entries });
  const remote = (...entries: string[]): Filter => ({ side: 'remote', entries });

  test.each([
    [null, null, 'a.b', 'remote'],
    [null, local('a.b'), 'A.B.', 'local'],
    [null, local('a.b'), 'x.a.b', 'remote'],
    [null, local('db'), 'db.shop.svc.cluster.local', 'local'],
    [null, local('db'), 'db.elsewhere', 'remote'],
    [null, remote('a.b'), 'a.b', 'remote'],
    [null, remote('a.b'), 'c.d', 'local'],
    [local('tcp://db:5432'), null, 'db', 'local'],
    [local('10.0.0.1'), null, 'db', 'remote'],
    [remote('db:5432'), null, 'other', 'remote'],
    [remote('db'), remote('a.b'), 'db', 'remote'],
    [remote('db'), remote('a.b'), 'other', 'local'],
    [local('db'), remote('a.b'), 'db', 'local'],
    [remote('db'), local('a.b'), 'db', 'remote'],
  ] as const)('outgoing %j, dns %j: %s is looked up %s', (outgoing, dns, name, expected) => {
    expect(of(outgoing as Filter, dns as Filter, name)).toBe(expected);
  });

  test('tells of names on opposite sides', () => {
    expect(dnsFilter(local('db', 'x'), remote('db', 'y')).conflicts).toEqual(['db']);
    expect(dnsFilter(local('db'), local('db')).conflicts).toEqual([]);
  });
});
