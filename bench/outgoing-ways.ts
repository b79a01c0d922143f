// The ways that bench/outgoing-bulk.ts compares, beside mirrord's own: straight, through `ssh -L` and an sshd of its own, and
// through two socats; over a distance where there is one.

import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { type DelayRelay, startDelayRelay } from './delay-relay.ts';

const DEADLINE_MS = 20_000;
const HOST_KEY = 'ssh_host_ed25519_key';

export class Ways {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'outgoing-bulk-'));
  readonly #children: ChildProcess[] = [];
  readonly #relays: DelayRelay[] = [];

  /** A child that says `ready PORT`. */
  async serve(command: readonly string[]): Promise<number> {
    const child = this.#spawn(command, 'pipe');
    const [line] = (await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line')) as [string];
    const [, port] = /^ready (\d+)$/.exec(line) ?? [];
    if (port === undefined) throw new Error(`${command[0]} said ${line}`);
    return Number(port);
  }

  /** A child that says so when it serves, and nothing else that matters. */
  async say(command: readonly string[]): Promise<void> {
    const child = this.#spawn(command, 'pipe');
    await once(createInterface(child.stdout as NodeJS.ReadableStream), 'line');
  }

  /** What the program prints, as numbers. */
  async ask(command: readonly string[]): Promise<number[]> {
    const [file = '', ...rest] = command;
    const { stdout } = await promisify(execFile)(file, rest);
    return stdout.trim().split(' ').map(Number);
  }

  /** Ports of this machine that lead to `port`, by name. */
  async start(port: number, roundTripMs: number): Promise<Record<'direct' | 'ssh' | 'socat', number>> {
    const direct = roundTripMs === 0 ? port : await this.#far(port, roundTripMs);
    return { direct, ssh: await this.#startSsh(port, roundTripMs), socat: await this.#startSocats(port, roundTripMs) };
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const relay of this.#relays) await relay.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #spawn(command: readonly string[], stdout: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
    const [file = '', ...rest] = command;
    const child = spawn(file, rest, { stdio: ['ignore', stdout, 'inherit'] });
    this.#children.push(child);
    return child;
  }

  async #far(port: number, roundTripMs: number): Promise<number> {
    if (roundTripMs === 0) return port;
    const relay = await startDelayRelay(`127.0.0.1:${port}`, roundTripMs, false);
    this.#relays.push(relay);
    return Number(relay.address.split(':')[1]);
  }

  async #startSsh(port: number, roundTripMs: number): Promise<number> {
    const own = (name: string) => path.join(this.folder, name);
    const folder = mkdtempSync(own('ssh-'));
    const file = (name: string) => path.join(folder, name);
    for (const name of [HOST_KEY, 'user_key']) {
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
    }
    execFileSync('mkdir', ['-p', '/run/sshd']);
    const at = await freePort();
    const lines = [
      `Port ${at}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${file(HOST_KEY)}`,
      `AuthorizedKeysFile ${file('user_key.pub')}`,
      `PidFile ${file('pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
    ];
    writeFileSync(file('sshd_config'), `${lines.join('\n')}\n`);
    chmodSync(folder, 0o700);
    this.#spawn(['/usr/sbin/sshd', '-D', '-q', '-f', file('sshd_config')]);
    await listens(at);
    const forwarded = await freePort();
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      `UserKnownHostsFile=${file('known')}`,
      'LogLevel=ERROR',
    ];
    this.#spawn([
      ...['ssh', '-N', '-F', 'none', '-i', file('user_key'), '-p', String(await this.#far(at, roundTripMs))],
      ...options.flatMap((option) => ['-o', option]),
      ...['-L', `127.0.0.1:${forwarded}:127.0.0.1:${port}`, 'root@127.0.0.1'],
    ]);
    await listens(forwarded);
    return forwarded;
  }

  async #startSocats(port: number, roundTripMs: number): Promise<number> {
    const [near, far] = [await freePort(), await freePort()];
    const listen = (at: number) => `TCP-LISTEN:${at},bind=127.0.0.1,fork,reuseaddr,nodelay`;
    this.#spawn(['socat', '-b', '65536', listen(far), `TCP:127.0.0.1:${port},nodelay`]);
    await listens(far);
    this.#spawn(['socat', '-b', '65536', listen(near), `TCP:127.0.0.1:${await this.#far(far, roundTripMs)},nodelay`]);
    await listens(near);
    return near;
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function listens(port: number): Promise<void> {
  const endMs = performance.now() + DEADLINE_MS;
  while (performance.now() < endMs) {
    const socket = net.connect(port, '127.0.0.1');
    const isOpen = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nothing listens on port ${port}`);
}
