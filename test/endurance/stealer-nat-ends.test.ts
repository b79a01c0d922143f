// The redirect by translation of addresses when its last session ends: what the kernel remembers of connections that it translated
// must neither end with the rules nor outlive what was translated.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const PORT = 8080;
/** Asks by a port of its own whenever it is told to, on the connection that it has or on a new one, and says what it hears. */
const PEER = `
import socket, sys
one = None
for line in sys.stdin:
    act, path = line.split()
    try:
        if act == 'new':
            if one is not None: one.close()
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.settimeout(5)
            one.bind(('10.99.0.2', int(sys.argv[1])))
            one.connect(('10.99.0.1', ${PORT}))
        if path != '-': one.sendall(('GET %s HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' % path).encode())
        print(act, path, one.recv(4096).decode().split('\\r\\n\\r\\n')[-1].strip() or 'end', flush=True)
    except OSError as error:
        print(act, path, type(error).__name__, flush=True)
`;

let network: TargetNetwork;
let local: Server;
let stealer: Stealer;
let client: StealClient;
let nextPort = 41_000;

beforeAll(async () => {
  network = await startNetwork();
  const server = path.join(import.meta.dirname, '../fixtures/web-server.mjs');
  await network.serve(network.target, [process.execPath, server, `:::${PORT}`]);
  local = createServer((request, response) => response.end(`local ${request.url}\n`));
  await new Promise<void>((resolve) => local.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  local.closeAllConnections();
  await new Promise((resolve) => local.close(resolve));
  await network[Symbol.asyncDispose]();
});

describe.each(['sk_lookup', 'nftables', 'nftables-guarded', 'iptables-legacy'] as const)('by %s', (way) => {
  let peer: ReturnType<typeof startPeer>;

  beforeEach(async () => {
    stealer = await startStealer(way);
    client = await StealClient.open(stealer, network.identity, (local.address() as AddressInfo).port);
    peer = startPeer();
  });
  afterEach(async () => {
    client.vanish();
    await peer.stop();
    await expect.poll(() => stealer.liveSessions).toBe(0);
    await stealer[Symbol.asyncDispose]();
    await expect.poll(() => network.run(network.target, 'nft list ruleset')).not.toContain('mirrord');
  });

  test('a connection that passes through to the target goes on when the last session has gone', async () => {
    await client.steal({ port: PORT, conditions: [{ $case: 'header', value: '^x-user: alice$' }] });
    expect(await peer.does('new /1')).toContain('new /1 hello');
    client.vanish();
    await expect.poll(() => stealer.liveSessions).toBe(0);
    expect(await peer.does('same /2')).toContain('same /2 hello');
  });

  test.each([
    ['alone', false],
    ['beside rules of others', true],
  ] as const)('%s, one that was stolen is reset, and its port reaches the target at once', async (_, isBeside) => {
    if (isBeside) {
      await network.run(network.target, 'nft add table ip of-others');
      await network.run(network.target, 'nft add chain ip of-others in { type nat hook prerouting priority -100 ; }');
      await network.run(network.target, 'nft add rule ip of-others in tcp dport 9 redirect to :10');
    }
    try {
      await client.steal({ port: PORT });
      expect(await peer.does('new /1')).toBe('new /1 local /1');
      client.vanish();
      await expect.poll(() => stealer.liveSessions).toBe(0);
      expect(await peer.does('same -')).toBe('same - ConnectionResetError');
      expect(await peer.does('new /2')).toContain('new /2 hello');
    } finally {
      if (isBeside) await network.run(network.target, 'nft delete table ip of-others');
    }
  });
});

function startPeer() {
  nextPort += 1;
  const words = ['-t', String(network.beyond.pid), '-n', 'python3', '-c', PEER, String(nextPort)];
  const child = spawn('nsenter', words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  return {
    does: async (what: string): Promise<string> => {
      const said = once(lines, 'line');
      child.stdin.write(`${what}\n`);
      return (await said)[0] as string;
    },
    stop: async (): Promise<void> => {
      const closed = once(child, 'close');
      child.stdin.end();
      child.kill('SIGKILL');
      await closed;
    },
  };
}
