import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createServer } from 'node:tls';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { FileReply } from '#proto/gen/v1/fs_env.ts';
import type { TlsDeliveryConfig, TlsIdentityConfig } from '../config/schema/tls.ts';
import type { FileSession } from '../session.ts';
import { testCertificates } from '../testing/certificates.ts';
import { TlsDelivery, type TlsDeliveryOptions } from './tls-delivery.ts';
import { IncomingTls } from './tls-files.ts';

const made = testCertificates();
let folder = '';

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-tls-files-'));
  for (const [name, bytes] of Object.entries({
    'server.crt': made.server.cert,
    'server.key': made.server.key,
    'client.key': made.client.key,
    'ca.crt': made.ca,
    large: Buffer.alloc(70_000, 0x41),
  })) {
    writeFileSync(path.join(folder, name), bytes);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const files: Record<string, Buffer> = { '/tls/crt': made.server.cert, '/tls/key': made.server.key };

/** Answers as the agent does. */
const session: Pick<FileSession, 'request' | 'tell'> = {
  request: (operation) => {
    const name = operation.$case === 'open' ? Buffer.from(operation.value.path).toString() : '';
    const data = files[name];
    const none = FileReply.decode(FileReply.encode({ errno: ERRNO.ENOENT, result: undefined }).finish());
    if (data === undefined) return Promise.resolve({ reply: none, data: Buffer.alloc(0) });
    const handle = name === '/tls/large' ? 7 : 0;
    const result = { $case: 'opened' as const, value: { handle, stat: {} } };
    return Promise.resolve({ reply: { errno: 0, result } as FileReply, data });
  },
  tell: () => undefined,
};

const BARE = {
  ports: null,
  from: 'local' as const,
  certificate: 'server.crt',
  key: 'server.key',
  server_names: [],
  client_roots: null,
  target_certificate: null,
  target_key: null,
  target_roots: null,
};

async function load(identity: Partial<TlsIdentityConfig>, delivery: Partial<TlsDeliveryConfig> | null = null) {
  const whole = { protocol: 'tls' as const, server_name: null, trust_roots: [], server_cert: null };
  const sources = { session, cwd: folder, onTrouble: () => undefined };
  return await IncomingTls.load(
    [{ ...BARE, ...identity }],
    delivery === null ? null : { ...whole, ...delivery },
    sources,
  );
}

test('files of this machine and of the target become who the stealer is on the ports they are for', async () => {
  const local = await load({ ports: [8443], server_names: ['a.test'], client_roots: 'ca.crt' });
  const [identity] = local.identitiesFor(8443);
  expect(identity?.key).toEqual(made.server.key);
  expect(identity?.clientRoots).toEqual(made.ca);
  expect(local.identitiesFor(443)).toEqual([]);
  const target = await load({ from: 'target', certificate: '/tls/crt', key: '/tls/key' });
  expect(target.identitiesFor(1)[0]?.certificate).toEqual(made.server.cert);
  target.forget();
  expect(target.identitiesFor(1)[0]?.key.every((byte) => byte === 0)).toBe(true);
});

test.each([
  [{ key: 'client.key' }, 'client.key is not the key of server.crt'],
  [{ key: 'none.key' }, 'none.key cannot be read on this machine: ENOENT'],
  [{ key: '.' }, '. cannot be read on this machine: EISDIR'],
  [{ key: 'server.crt' }, 'server.crt is no key as PEM that can be used without a passphrase'],
  [{ certificate: 'server.key' }, 'server.key is no certificate as PEM'],
  [{ client_roots: 'server.key' }, 'server.key is no certificate as PEM'],
  [{ target_certificate: 'server.crt', target_key: 'client.key' }, 'client.key is not the key of server.crt'],
  [{ key: 'large' }, 'large has more than 65536 bytes'],
  [
    { from: 'target' as const, certificate: '/tls/crt' },
    'server.key is a file of the target and wants an absolute path',
  ],
  [{ from: 'target' as const, certificate: '/none' }, '/none cannot be read in the target: ENOENT'],
])('%j is refused by the name of the file, without a byte of it', async (identity, said) => {
  const error = await load(identity).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(said) });
  expect(String(error)).not.toContain(made.server.key.toString().split('\n')[1]);
});

test('what lies on this machine is looked at without a session, what lies in the target is not', async () => {
  await IncomingTls.check([BARE, { ...BARE, from: 'target', certificate: '/none', key: '/none' }], null, folder);
  const wrong = IncomingTls.check([{ ...BARE, key: 'client.key' }], null, folder);
  await expect(wrong).rejects.toThrow('client.key is not the key of server.crt');
  const untrusted = { protocol: 'tls' as const, server_name: null, trust_roots: ['none'], server_cert: null };
  await expect(IncomingTls.check([], untrusted, folder)).rejects.toThrow('none cannot be read on this machine: ENOENT');
});

test('trust roots are files, or what lies in a folder', async () => {
  await load({}, { trust_roots: ['ca.crt', '.'] });
  await expect(load({}, { trust_roots: ['none'] })).rejects.toThrow('none cannot be read on this machine: ENOENT');
});

/** What a local process in TLS says of who came, or why nobody did. */
async function deliver(options: Partial<TlsDeliveryOptions>, serverName: string, alpn: string): Promise<string> {
  const server = createServer({ ...made.server, ALPNProtocols: ['http/1.1'] }, (socket) => {
    socket.on('error', () => undefined);
    socket.end(`${socket.servername || 'nobody'} ${socket.alpnProtocol || 'none'}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const raw = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const delivery = new TlsDelivery({ protocol: 'tls', serverName: null, trustRoots: [], pinned: null, ...options });
  try {
    return await new Promise<string>((resolve) => {
      raw.once('connect', () => {
        const secure = delivery.secure({ serverName, alpn })?.(raw);
        secure?.once('secureConnect', () => secure.once('data', (said) => resolve(String(said))));
        secure?.once('error', ({ message }) => resolve(message));
      });
    });
  } finally {
    raw.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

const pinned = new X509Certificate(made.server.cert);
test.each([
  ['the name and protocol of its client', {}, 'shop.test', 'http/1.1', 'shop.test http/1.1'],
  ['localhost, when the client named none', {}, '', '', 'localhost none'],
  ['the name of the configuration first', { serverName: 'a.test', pinned }, 'shop.test', '', 'a.test none'],
  ['the name in its own certificate next', { pinned }, 'shop.test', '', 'api.cluster.test none'],
  [
    'nothing, when its certificate is another',
    { pinned: new X509Certificate(made.client.cert) },
    'shop.test',
    '',
    'its certificate is not the one of tls_delivery.server_cert',
  ],
  [
    'all, when it is signed by who should',
    { trustRoots: [made.ca], serverName: 'api.cluster.test' },
    '',
    '',
    'api.cluster.test none',
  ],
  [
    'nothing, when it is not for the name',
    { trustRoots: [made.ca] },
    'shop.test',
    '',
    expect.stringContaining("does not match certificate's altnames"),
  ],
  [
    'nothing, when somebody else signed it',
    { trustRoots: [made.otherCa] },
    'shop.test',
    '',
    expect.stringMatching(/unable to (get local issuer|verify)/),
  ],
  [
    'nothing, when it does not speak HTTP/2',
    {},
    'shop.test',
    'h2',
    expect.stringMatching(/no application protocol|does not speak h2/),
  ],
])('the local process gets %s', async (_, options, serverName, alpn, said) => {
  expect(await deliver(options, serverName, alpn)).toEqual(said);
});

test('as plaintext there is nothing to lay over a connection', () => {
  const delivery = new TlsDelivery({ protocol: 'tcp', serverName: null, trustRoots: [], pinned: null });
  expect(delivery.secure({ serverName: '', alpn: '' })).toBeNull();
});
