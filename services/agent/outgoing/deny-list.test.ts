import { describe, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { parseIp } from './address.ts';
import { DenyList, type DenyListSettings, parseGrant } from './deny-list.ts';

const defaults: DenyListSettings = { allow: [], nodeAddresses: ['10.1.2.3', 'fd00::3'], isNodeNetwork: false };

function verdict(address: string, port: number, settings: Partial<DenyListSettings> = {}): string {
  const ip = parseIp(address) as Buffer;
  try {
    new DenyList({ ...defaults, ...settings }).assertInternet({ ip, port, scopeId: 0 });
    return 'open';
  } catch (error) {
    expect(error).toMatchObject({ code: 'NOT_PERMITTED', errno: ERRNO.EACCES });
    return /\((.*)\)/.exec((error as Error).message)?.[1] ?? '';
  }
}

const node = 'kubelet and container runtime of the node';

describe('by default', () => {
  test.each([
    ['169.254.169.254', 80, 'cloud metadata'],
    ['::ffff:169.254.169.254', 443, 'cloud metadata'],
    ['64:ff9b::a9fe:a9fe', 80, 'cloud metadata'],
    ['fd00:ec2::254', 80, 'cloud metadata'],
    ['fd00:ec2::255', 80, 'open'],
    ['169.254.0.1', 8080, 'link-local addresses'],
    ['169.253.255.255', 80, 'open'],
    ['169.255.0.0', 80, 'open'],
    ['fe80::1', 22, 'link-local addresses'],
    ['febf::1', 22, 'link-local addresses'],
    ['fec0::1', 22, 'open'],
    ['169.254.169.254', 53, 'open'],
    ['169.254.20.10', 53, 'open'],
    ['10.1.2.3', 10_250, node],
    ['10.1.2.3', 2_375, node],
    ['10.1.2.3', 443, 'open'],
    ['fd00::3', 10_255, node],
    ['10.1.2.4', 10_250, 'open'],
    ['127.0.0.1', 10_250, 'open'],
    ['8.8.8.8', 80, 'open'],
  ])('%s port %i: %s', (address, port, expected) => {
    expect(verdict(address, port)).toBe(expected);
  });
});

test.each(['127.0.0.1', '127.9.9.9', '::1', '0.0.0.0', '::'])(
  'in the network of the node its kubelet is kept from %s too',
  (address) => {
    expect(verdict(address, 10_250, { isNodeNetwork: true })).toBe(node);
    expect(verdict(address, 8_080, { isNodeNetwork: true })).toBe('open');
  },
);

describe('grants', () => {
  test.each([
    ['169.254.169.254', '169.254.169.254', 80, 'open'],
    ['169.254.169.254:80', '169.254.169.254', 80, 'open'],
    ['169.254.169.254:80', '169.254.169.254', 81, 'cloud metadata'],
    ['169.254.0.0/16', '169.254.169.254', 80, 'open'],
    ['0.0.0.0/0', '169.254.169.254', 80, 'open'],
    ['0.0.0.0/0', 'fe80::1', 80, 'link-local addresses'],
    ['fe80::/10', 'fe80::1', 80, 'open'],
    ['[fd00:ec2::254]:80', 'fd00:ec2::254', 80, 'open'],
    ['[fd00:ec2::254]:80', 'fd00:ec2::254', 81, 'cloud metadata'],
    ['[fe80::]/10:80', 'fe80::9', 80, 'open'],
    ['::/0', '10.1.2.3', 10_250, 'open'],
    ['10.1.2.3:10250', '10.1.2.3', 10_250, 'open'],
  ])('%s, and %s port %i is %s', (grant, address, port, expected) => {
    expect(verdict(address, port, { allow: [grant] })).toBe(expected);
  });

  test.each([
    '',
    'localhost',
    '1.2.3.4/33',
    '1.2.3.4/',
    '1.2.3.4:',
    '1.2.3.4:65536',
    '[::1]/129',
    'fe80::1%eth0',
    '1.2.3.4/x',
  ])('%j is refused as a setting', (text) => {
    expect(() => parseGrant(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });
});

describe('unix sockets', () => {
  test.each([
    ['/var/run/docker.sock', false],
    ['/run/docker.sock', false],
    ['/run//containerd/containerd.sock', false],
    ['/run/crio/crio.sock', false],
    ['/run/app.sock', true],
    ['/srv/docker.sock', true],
    ['\0docker', true],
  ])('%j', (path, isOpen) => {
    const check = () => new DenyList(defaults).assertUnix(Buffer.from(path));
    if (isOpen) check();
    else expect(check).toThrow(expect.objectContaining({ code: 'NOT_PERMITTED', errno: ERRNO.EACCES }));
  });

  test('one that is granted is reached', () => {
    new DenyList({ ...defaults, allow: ['/run/docker.sock'] }).assertUnix(Buffer.from('/run/docker.sock'));
  });
});
