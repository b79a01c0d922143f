// `mirrord exec` with the network of a target behind which there is another that nothing else reaches: what is answered
// from there has gone the whole way.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BEYOND, BEYOND_V6, type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { ExecHarness } from './exec-harness.ts';

const fixture = (name: string) => path.join(import.meta.dirname, '../fixtures', name);
const TARGET = '10.99.0.1';

let network: TargetNetwork;
let names: Peer;
let harness: ExecHarness;

beforeAll(async () => {
  network = await startNetwork({
    files: {
      '/etc/resolv.conf': `nameserver ${BEYOND}\nsearch shop.test\n`,
      '/etc/hosts': `127.0.0.1 localhost\n${BEYOND} by-file\n`,
    },
  });
  const web = [process.execPath, fixture('web-server.mjs'), `${BEYOND}:8080`, `${BEYOND_V6}:8080`];
  await network.serve(network.beyond, web);
  names = await network.serve(network.beyond, [
    process.execPath,
    fixture('name-server.mjs'),
    BEYOND,
    `web.shop.test/A=${BEYOND}`,
    'alias.shop.test/CNAME=web.shop.test',
    'service.shop.test/SRV=8080 web.shop.test',
    `large.shop.test/TXT=${'x'.repeat(2000)}`,
  ]);
});

afterAll(async () => {
  await network?.[Symbol.asyncDispose]();
});

afterEach(async () => {
  await harness.leavesNothing();
  harness.close();
});

function run(words: readonly string[], variables: Record<string, string> = {}) {
  harness = new ExecHarness();
  return harness.run(['exec', '-t', `pid/${network.target.pid}`, '--', ...words], { variables });
}

const curl = (...words: string[]) => run(['curl', '-sS', '--max-time', '20', ...words]);

describe('curl', () => {
  test('reaches what only the target reaches, from the address of the target', async () => {
    expect(await curl(`http://${BEYOND}:8080/`)).toMatchObject({ code: 0, stdout: expect.stringContaining(TARGET) });
  });

  test('over IPv6', async () => {
    expect(await curl(`http://[${BEYOND_V6}]:8080/`)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('fd99::1'),
    });
  });

  test('takes and gives much', async () => {
    const large = await curl('-o', '/dev/null', '-w', '%{size_download}', `http://${BEYOND}:8080/large`);
    expect(large).toMatchObject({ code: 0, stdout: String(8 << 20) });
  });

  test('is refused where the target is refused', async () => {
    expect(await curl(`http://${BEYOND}:8081/`)).toMatchObject({ code: 7 });
  });

  test('by a name of the target', async () => {
    expect(await curl('http://web.shop.test:8080/')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(TARGET),
    });
    await names.line('asked web.shop.test A udp');
  });

  test('by a name of the target while all files are of this machine', async () => {
    const outcome = await run(['getent', 'hosts', 'web', 'by-file'], { MIRRORD_FILE_MODE: 'local' });
    expect(outcome.stdout.split('\n').filter((line) => line.startsWith(BEYOND))).toHaveLength(2);
  });

  test('by a name of its search list, an alias, and a name of its hosts file', async () => {
    for (const name of ['web', 'alias', 'by-file']) {
      expect(await curl(`http://${name}:8080/`)).toMatchObject({ code: 0, stdout: expect.stringContaining(TARGET) });
      await harness.leavesNothing();
      harness.close();
    }
    expect(await curl('http://nobody.shop.test:8080/')).toMatchObject({ code: 6 });
  });
});

test('connections that are delayed give everything, so much later', async () => {
  harness = new ExecHarness();
  const config = path.join(harness.folder, 'mirrord.json');
  writeFileSync(config, JSON.stringify({ experimental: { latency: { transmit_delay: 150, receive_delay: 250 } } }));
  const get = ['curl', '-sS', '--max-time', '20', '-o', '/dev/null', '-w', '%{time_starttransfer} %{size_download}'];
  const exec = ['exec', '-f', config, '-t', `pid/${network.target.pid}`, '--'];
  const { stdout } = await harness.run([...exec, ...get, `http://${BEYOND}:8080/large`]);
  const [seconds = 0, bytes] = stdout.split(' ').map(Number);
  expect(seconds).toBeGreaterThan(0.399);
  expect(bytes).toBe(8 << 20);
});

test('unix sockets that `unix_streams` names are those of the target, and no others are', async () => {
  const places = ['stream:', 'seqpacket:'].map((kind) => `${kind}${network.target.root}/${kind.slice(0, 3)}.sock`);
  await network.serve(network.target, ['python3', fixture('unix-peer.py'), ...places, 'seqpacket:@shop-packets']);
  const source = `
import errno, socket
def at(kind, name):
    try:
        s = socket.socket(socket.AF_UNIX, kind); s.connect(name); s.send(b'one'); s.send(b'two')
        got = s.recv(3), s.recv(99), str(s.getpeername())[-9:]
        try: s.connect(name)
        except OSError as e: print(*got, errno.errorcode[e.errno])
    except OSError as e: print(errno.errorcode[e.errno])
at(1, '/str.sock'); at(5, '/seq.sock'); at(5, '\\0shop-packets'); at(5, '/str.sock'); at(1, '/not.sock'); at(1, '/other')`;
  harness = new ExecHarness();
  const outgoing = { unix_streams: ['^/(str|seq|not)[.]sock$', 'shop-packets$'] };
  writeFileSync(path.join(harness.folder, 'mirrord.json'), JSON.stringify({ feature: { network: { outgoing } } }));
  const target = ['-f', 'mirrord.json', '-t', `pid/${network.target.pid}`];
  expect(await harness.run(['exec', ...target, '--', '/usr/bin/python3', '-c', source])).toMatchObject({
    stdout:
      "b'one' b'two' /str.sock EISCONN\nb'one' b'two' /seq.sock EISCONN\nb'one' b'two' -packets' EISCONN\n" +
      'EPROTOTYPE\nENOENT\nENOENT\n',
  });
});

describe('what agents refuse by default', () => {
  const LINK_LOCAL = '169.254.7.7';

  test('is refused with a word of what grants it, and is reached when it is granted', async () => {
    await network.run(network.beyond, `ip addr add ${LINK_LOCAL}/32 dev back`);
    await network.run(network.target, `ip route add ${LINK_LOCAL} via ${BEYOND}`);
    await network.serve(network.beyond, [process.execPath, fixture('web-server.mjs'), `${LINK_LOCAL}:8080`]);
    const refused = await curl(`http://${LINK_LOCAL}:8080/`);
    expect(refused).toMatchObject({ code: 7, stderr: expect.stringContaining('MIRRORD_OUTGOING_ALLOW grants it') });
    await harness.leavesNothing();
    harness.close();
    const granted = await run(['curl', '-sS', `http://${LINK_LOCAL}:8080/`], { MIRRORD_OUTGOING_ALLOW: LINK_LOCAL });
    expect(granted).toMatchObject({ code: 0, stdout: expect.stringContaining(TARGET) });
  });
});

describe('what stays here', () => {
  test('is what the filter says', async () => {
    const config = JSON.stringify({ feature: { network: { outgoing: { filter: { local: [`${BEYOND}`] } } } } });
    const words = ['curl', '-sS', '--connect-timeout', '2', `http://${BEYOND}:8080/`];
    harness = new ExecHarness();
    writeFileSync(path.join(harness.folder, 'mirrord.json'), config);
    const target = ['-t', `pid/${network.target.pid}`];
    const outcome = await harness.run(['exec', '-f', 'mirrord.json', ...target, '--', ...words]);
    expect(outcome.code).not.toBe(0);
    expect(outcome.stdout).toBe('');
  });

  test('is what the agent refuses, and a line says why and what grants it', async () => {
    const words = ['curl', '-sS', '--max-time', '20', 'http://169.254.169.254/latest/meta-data/'];
    const refused = await run(words);
    expect(refused.code).toBe(7);
    expect(refused.stderr).toContain('169.254.169.254:80 (cloud metadata)');
    expect(refused.stderr).toContain('MIRRORD_OUTGOING_ALLOW');
    await harness.leavesNothing();
    harness.close();
    const granted = await run(words, { MIRRORD_OUTGOING_ALLOW: '169.254.169.254:80' });
    expect(granted.stderr).not.toContain('cloud metadata');
    expect(granted.stderr).toMatch(/Network is unreachable|No route to host|Couldn't connect/);
  });

  test('is a name of dns.filter also when it is asked over TCP', async () => {
    const { writeFileSync } = await import('node:fs');
    const source = `
import socket, struct
def ask(name):
    labels = b''.join(bytes([len(one)]) + one.encode() for one in name.split('.')) + b'\\0'
    query = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + labels + struct.pack('>HH', 1, 1)
    s = socket.create_connection(('${BEYOND}', 53)); s.sendall(struct.pack('>H', len(query)) + query)
    return s.recv(999)[-4:]
print(socket.inet_ntoa(ask('localhost')), socket.inet_ntoa(ask('web.shop.test')))`;
    harness = new ExecHarness();
    writeFileSync(
      path.join(harness.folder, 'mirrord.json'),
      JSON.stringify({ feature: { network: { dns: { filter: { local: ['localhost'] } } } } }),
    );
    const words = [
      'exec',
      '-f',
      'mirrord.json',
      '-t',
      `pid/${network.target.pid}`,
      '--',
      '/usr/bin/python3',
      '-c',
      source,
    ];
    expect(await harness.run(words)).toMatchObject({ code: 0, stdout: `127.0.0.1 ${BEYOND}\n` });
  });

  test('is a port that the local process itself listens on', async () => {
    const script = `
      const http = require('node:http');
      const server = http.createServer((_q, r) => r.end('own'));
      server.listen(0, '127.0.0.1', () => {
        http.get({ port: server.address().port, host: '127.0.0.1' }, (r) => {
          r.setEncoding('utf8').on('data', (t) => { process.stdout.write(t); process.exit(0); });
        });
      });`;
    expect(await run([process.execPath, '-e', script])).toMatchObject({ code: 0, stdout: 'own' });
  });
});

const node = (script: string) => run([process.execPath, '-e', script]);

describe('Node', () => {
  test('is told by errno why a connection failed, and of both addresses where it did not', async () => {
    const script = `
      const net = require('node:net');
      net.connect(8081, '${BEYOND}').on('error', (error) => {
        const socket = net.connect(8080, '${BEYOND}', () => {
          console.log(error.code, error.syscall, socket.localAddress, socket.remoteAddress, socket.remotePort);
          socket.destroy();
        });
      });`;
    expect(await node(script)).toMatchObject({ code: 0, stdout: `ECONNREFUSED connect ${TARGET} ${BEYOND} 8080\n` });
  });

  test('sends datagrams from a socket that is not connected, and hears who answers', async () => {
    const script = `
      const dgram = require('node:dgram').createSocket('udp4');
      const query = Buffer.from('12340100000100000000000003776562' + '0473686f700474657374000001' + '0001', 'hex');
      dgram.on('message', (data, from) => { console.log(data.length > 30, from.address, from.port); dgram.close(); });
      dgram.send(query, 53, '${BEYOND}');`;
    expect(await node(script)).toMatchObject({ code: 0, stdout: `true ${BEYOND} 53\n` });
  });
});

describe('many connections', () => {
  test('are open at once, each answered', async () => {
    const script = `
      const http = require('node:http');
      const agent = new http.Agent({ maxSockets: Infinity });
      let left = 200, bad = 0;
      const done = () => { left -= 1; if (left === 0) console.log('bad', bad); };
      for (let count = 0; count < 200; count += 1) {
        http.get({ host: '${BEYOND}', port: 8080, agent }, (r) => { r.resume(); r.on('end', done); })
          .on('error', () => { bad += 1; done(); });
      }`;
    expect(await node(script)).toMatchObject({ code: 0, stdout: 'bad 0\n' });
  });

  test('end at once when the agent is killed, and later ones say that the network is down', async () => {
    const script = `
      const net = require('node:net');
      const socket = net.connect(8080, '${BEYOND}', () => console.log('open'));
      socket.on('error', () => {});
      socket.on('close', () => {
        console.log('closed');
        net.connect(8080, '${BEYOND}').on('error', (error) => console.log(error.code));
      });`;
    harness = new ExecHarness();
    const words = ['exec', '-t', `pid/${network.target.pid}`, '--', process.execPath, '-e', script];
    const run = harness.start(words);
    await run.said('open');
    process.kill(harness.process('dist/agent.js'), 'SIGKILL');
    expect((await run.outcome).stdout).toBe('open\nclosed\nENETDOWN\n');
  });
});

describe('resolvers', () => {
  test('of c-ares, which Node has beside that of libc: SRV, and TXT over TCP after a truncated answer', async () => {
    const script = `
      const dns = require('node:dns').promises;
      (async () => {
        const [srv] = await dns.resolveSrv('service.shop.test');
        const [txt] = await dns.resolveTxt('large.shop.test');
        const no = await dns.resolve4('nobody.shop.test').catch((error) => error.code);
        console.log(srv.port, srv.name, txt.join('').length, no);
      })();`;
    expect(await node(script)).toMatchObject({ code: 0, stdout: '8080 web.shop.test 2000 ENOTFOUND\n' });
    await names.line('asked large.shop.test TXT tcp');
  });

  test('of Python and of getent, by glibc', async () => {
    const script = 'import socket; print(socket.gethostbyname("web.shop.test"))';
    expect(await run(['/usr/bin/python3', '-c', script])).toMatchObject({ code: 0, stdout: `${BEYOND}\n` });
    await harness.leavesNothing();
    harness.close();
    expect((await run(['getent', 'hosts', 'web'])).stdout).toContain(BEYOND);
  });
});
