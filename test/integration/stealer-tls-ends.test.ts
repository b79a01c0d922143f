// How one end of a TLS connection leaves is what the other end sees, through a stealer that speaks TLS with both: without a word
// of TLS anybody on the way may have cut what it said.

import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CertificateFolder } from '../fixtures/certificates.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from './stealer-harness.ts';

const NAME = 'shop.test';
const PORT = 8443;
const PEERS = path.join(import.meta.dirname, '../fixtures/tls_ends.py');

let network: TargetNetwork;
let certificates: CertificateFolder;
let server: Peer;
let stealer: Stealer;
let client: StealClient;

beforeAll(async () => {
  certificates = new CertificateFolder();
  const pair = certificates.pair([NAME]);
  network = await startNetwork();
  const words = ['python3', PEERS, 'serve', `${PORT}`, pair.certificate, pair.key];
  server = await network.serve(network.target, words);
  stealer = await startStealer();
  client = await StealClient.open(stealer, network.identity, 1);
  const none = Buffer.alloc(0);
  const rest = { serverNames: [], clientRoots: none, targetCertificate: none, targetKey: none, targetRoots: none };
  const conditions = [{ $case: 'header', value: '^x-user: alice$' }] as const;
  await client.steal({ port: PORT, conditions, tls: [{ ...certificates.read(pair), ...rest }] });
});
afterAll(async () => {
  client?.vanish();
  await stealer?.[Symbol.asyncDispose]();
  await network?.[Symbol.asyncDispose]();
  certificates?.[Symbol.dispose]();
});

async function ask(text: string, how: 'hear' | 'whole' | 'torn'): Promise<string> {
  const words = ['python3', PEERS, 'ask', '10.99.0.1', `${PORT}`, certificates.authority, NAME, text, how];
  return (await promisify(execFile)('nsenter', ['-t', `${network.beyond.pid}`, '-n', ...words])).stdout;
}

test.each(['whole', 'torn'] as const)('an answer of the target that ends %s', async (how) => {
  expect(await ask(`GET /${how} HTTP/1.0||`, 'hear')).toBe(`until the end ${how}\n`);
});

test.each(['whole', 'torn'] as const)('a client that is no HTTP and ends %s', async (how) => {
  const heard = server.line('heard');
  await ask(`one more order ${how}`, how);
  expect(await heard).toBe(`heard one more order ${how} ${how}`);
});
