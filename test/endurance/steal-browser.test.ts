// A browser in front of a stolen port: pages whose parts come from the target and from the local process, on the connections that
// the browser keeps.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { CertificateFolder, type Pair } from '../fixtures/certificates.ts';
import { freePort } from '../fixtures/free-port.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { StealClient, type Stealer, startStealer } from '../integration/stealer-harness.ts';

const NAME = 'shop.test';
const SITE = path.join(import.meta.dirname, '../fixtures/browser-server.mjs');
const DEADLINE = { timeout: 120_000 };

let network: TargetNetwork;
let stealer: Stealer;
let certificates: CertificateFolder;
let pair: Pair;
let profile = '';
let peers: Peer[] = [];
let client: StealClient | null = null;
let end: () => Promise<void> = async () => undefined;

beforeAll(async () => {
  certificates = new CertificateFolder();
  pair = certificates.pair([NAME]);
  network = await startNetwork();
  stealer = await startStealer();
}, 60_000);
afterEach(async () => {
  await end();
  end = async () => undefined;
  client?.vanish();
  for (const peer of peers) await peer.stop();
  [peers, client] = [[], null];
});
afterAll(async () => {
  await stealer?.[Symbol.asyncDispose]();
  await network?.[Symbol.asyncDispose]();
  certificates?.[Symbol.dispose]();
});

/** It reaches nothing but the target: its network has no other way, and no name means anything there. */
function browse(url: string): void {
  profile = mkdtempSync(path.join(tmpdir(), 'mirrord-browser-'));
  const quiet = [
    'background-networking',
    'component-update',
    'sync',
    'default-apps',
    'gpu',
    'dev-shm-usage',
    'extensions',
    'breakpad',
  ];
  const flags = [
    '--headless=new',
    '--no-sandbox',
    '--no-first-run',
    '--no-proxy-server',
    '--ignore-certificate-errors',
    `--user-data-dir=${profile}`,
    `--host-resolver-rules=MAP ${NAME} 10.99.0.1, MAP * ~NOTFOUND, EXCLUDE 10.99.0.1`,
    ...quiet.map((what) => `--disable-${what}`),
  ];
  const words = ['-t', String(network.beyond.pid), '-n', 'chromium', ...flags, url];
  const browser = spawn('nsenter', words, { stdio: 'ignore', env: { ...process.env, HOME: profile } });
  const exited = once(browser, 'exit');
  end = async () => {
    // It ends those it has started.
    browser.kill('SIGTERM');
    await exited;
    await expect.poll(() => itsProcesses(), { timeout: 30_000 }).toEqual([]);
    rmSync(profile, { recursive: true, force: true });
  };
}

function itsProcesses(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(profile);
    } catch {
      return false;
    }
  });
}

/** What the page says at its end; a path is all of a browser's that a filter can tell in each of its ways. */
async function reportOf(url: string, port: number, isSecure: boolean): Promise<Record<string, number>> {
  const files = isSecure ? [pair.certificate, pair.key] : [];
  const target = await network.serve(network.target, [process.execPath, SITE, `${port}`, 'target', ...files]);
  peers.push(target);
  const localPort = await freePort();
  const here = { ...network.target, pid: process.pid };
  peers.push(await network.serve(here, [process.execPath, SITE, `${localPort}`, 'local']));
  client = await StealClient.open(stealer, network.identity, localPort);
  const none = Buffer.alloc(0);
  const rest = { serverNames: [], clientRoots: none, targetCertificate: none, targetKey: none, targetRoots: none };
  const tls = isSecure ? [{ ...certificates.read(pair), ...rest }] : [];
  await client.steal({ port, conditions: [{ $case: 'path', value: '^/alice/' }], tls });
  browse(url);
  return JSON.parse((await target.line('report ')).slice('report '.length));
}

/** A browser asks for more than the page names, such as its icon. */
function expectWhole(report: Readonly<Record<string, number>>, protocol: string): void {
  const { [`over ${protocol}`]: entries = 0, ...counts } = report;
  expect(counts).toEqual(WHOLE);
  expect(entries).toBeGreaterThanOrEqual(140);
}

const WHOLE = {
  'alice loaded from local': 20,
  'bob loaded from target': 20,
  'alice asked local': 50,
  'bob asked target': 50,
  'alice talked to local': 50,
  'bob talked to target': 50,
};

test(
  'over HTTP/1.1: scripts, requests with bodies and WebSockets, each from whom its path says',
  DEADLINE,
  async () => {
    const report = await reportOf('http://10.99.0.1:8080/page', 8080, false);
    expectWhole(report, 'http/1.1');
    // Six connections are what a browser keeps to one site; a request of the session's comes on the one it was made on.
    expect(client?.peers.length).toBeLessThanOrEqual(12);
  },
);

test(
  'over HTTP/2 in TLS, which ends in the stealer: the same on one connection, WebSockets on their own',
  DEADLINE,
  async () => {
    const report = await reportOf(`https://${NAME}:8443/page`, 8443, true);
    expectWhole(report, 'h2');
    const agreed = client?.tls.map(({ alpn }) => alpn).sort();
    expect(agreed).toEqual(['h2', 'http/1.1']);
    expect(client?.tls.every(({ serverName }) => serverName === NAME)).toBe(true);
  },
);
