// What programs of this machine would ask for a name is not asked: nscd, systemd-resolved behind nsswitch.conf, and a name
// server at a loopback address. Listeners stand in their places, in namespaces of the test where it may put them.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { can, canRun } from '../can.ts';
import { type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { run } from '../fixtures/run.ts';
import { ExecHarness, until } from '../integration/exec-harness.ts';
import { buildLibrary } from './build.ts';
import { DOMAIN, source } from './stage.ts';

const machine = [can.root, can.nats, canRun('python3', 'cc')].find(({ yes }) => !yes) ?? can.root;
const NSCD = 'unix:/run/nscd/socket';
const RESOLVED = 'unix:/run/systemd/resolve/io.systemd.Resolve';
/** Where the target's own name server listens as well: on the target's loopback. */
const STUB = '127.0.0.53';
/** Of a program that looks for web.shop.test. */
const QUESTIONS = [`${NSCD} hosts`, `${RESOLVED} web shop test`, `udp:${STUB} web shop test`];
const KNOCK = `import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'knock', ('${STUB}', 53))`;
const ADDRESS = '10.99.0.77';

describe.skipIf(!machine.yes)(`resolvers of this machine ${machine.why}`, () => {
  let network: TargetNetwork;
  let names: Peer;
  let harness: ExecHarness;
  let folder: string;
  let here: ChildProcess;
  let asked: string[];

  beforeEach(async () => {
    network = await startNetwork({ files: { '/etc/resolv.conf': `nameserver ${STUB}\n` } });
    const server = path.join(import.meta.dirname, '../fixtures/name-server.mjs');
    names = await network.serve(network.target, [process.execPath, server, STUB, `web.${DOMAIN}/A=${ADDRESS}`]);
    harness = new ExecHarness();
    folder = mkdtempSync(path.join(tmpdir(), 'mirrord-leaks-'));
    asked = [];
    here = await startHere(folder, asked);
  });

  afterEach(async () => {
    harness?.close();
    if (here !== undefined && here.exitCode === null && here.signalCode === null) {
      here.kill('SIGKILL');
      await once(here, 'exit');
    }
    await network?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Into the namespaces of the listeners. */
  const inside = () => {
    const enter = ['nsenter', '-t', String(here.pid), '--mount', '--net'];
    return [...enter, 'sh', '-c', 'cd "$0" && exec "$@"', harness.folder];
  };
  const heard = (question: string) => until(`${question} was heard`, () => asked.includes(question));
  const variables = () => ({ LD_LIBRARY_PATH: folder });

  test('hear of every name without mirrord, and of none with it', async () => {
    copyFileSync(source('resolve.py'), path.join(harness.folder, 'resolve.py'));
    const ask = ['/usr/bin/python3', 'resolve.py', `web.${DOMAIN}`];
    const PATH = process.env['PATH'] ?? '';
    // That the listeners stand where they should. A library that gave up on one of them for a while asks again.
    await expect
      .poll(
        async () => {
          const alone = await run([...inside(), ...ask], {
            folder,
            variables: { PATH, LD_LIBRARY_PATH: folder, RES_OPTIONS: 'timeout:1 attempts:1' },
          });
          expect(alone.stdout).not.toContain(ADDRESS);
          return QUESTIONS.filter((question) => !asked.includes(question));
        },
        { timeout: 60_000, interval: 500 },
      )
      .toEqual([]);
    asked.length = 0;

    const words = ['exec', '-t', `pid/${network.target.pid}`, '--', ...ask];
    const outcome = await harness.run(words, { under: inside(), variables: variables() });
    expect(outcome, outcome.stderr).toMatchObject({ code: 0, stdout: `web.${DOMAIN}: ${ADDRESS}\n` });
    await names.line(`asked web.${DOMAIN} A udp`);
    await harness.leavesNothing();
    // The listeners tell in the order in which they are asked: this comes last.
    await run([...inside(), '/usr/bin/python3', '-c', KNOCK], { folder, variables: { PATH } });
    await heard(`udp:${STUB} knock`);
    // Users and groups are this machine's, and programs beside the local process ask for them.
    const ofNames = asked.filter((question) => !question.startsWith(NSCD) || /hosts|web/.test(question));
    expect(ofNames).toEqual([`udp:${STUB} knock`]);
  });
});

/** Holds namespaces in which the listeners stand, nsswitch.conf asks them, and resolv.conf names the stub. */
async function startHere(folder: string, asked: string[]): Promise<ChildProcess> {
  copyFileSync(buildLibrary('nss_here.c'), path.join(folder, 'libnss_here.so.2'));
  const own = readFileSync('/etc/nsswitch.conf', 'utf8').replace(/^hosts:.*$/m, '');
  writeFileSync(path.join(folder, 'nsswitch.conf'), `${own}\nhosts: here files dns\n`);
  writeFileSync(path.join(folder, 'resolv.conf'), `nameserver ${STUB}\n`);
  copyFileSync(source('watch.py'), path.join(folder, 'watch.py'));
  const script =
    'ip link set lo up && mount -t tmpfs none /run && for name in nsswitch.conf resolv.conf; do' +
    ' mount --bind "$0/$name" "$(readlink -f /etc/$name)" || exit; done; exec python3 "$0/watch.py" "$@"';
  const words = ['--mount', '--net', '--propagation', 'private', 'sh', '-c', script, folder];
  const child = spawn('unshare', [...words, NSCD, RESOLVED, `udp:${STUB}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    if (line !== 'ready') asked.push(line);
  });
  const [first] = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => ['the listeners ended'])]);
  if (first !== 'ready') throw new Error(String(first));
  return child;
}
