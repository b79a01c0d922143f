// The ways that bench/outgoing-bulk.ts compares, beside mirrord's own: straight, through `ssh -L` and an sshd of its own, and
// through two socats; over a distance where there is one (test/fixtures/distance.ts).

import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const DEADLINE_MS = 20_000;
const HOST_KEY = 'ssh_host_ed25519_key';

/** Where the ends of all ways are: words before a command, and what the near end calls the far one. */
export interface Ends {
  readonly near: readonly string[];
  readonly far: readonly string[];
  readonly host: string;
}

export const HERE: Ends = { near: [], far: [], host: '127.0.0.1' };

export class Ways {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'outgoing-bulk-'));
  readonly #children: ChildProcess[] = [];
  readonly #ends: Ends;

  constructor(ends = HERE) {
    this.#ends = ends;
  }

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

  /** Ports of the near end's loopback that lead to `port` of the far one. */
  async start(port: number): Promise<Record<'ssh' | 'socat', number>> {
    return { ssh: await this.#startSsh(port), socat: await this.#startSocats(port) };
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  #spawn(command: readonly string[], stdout: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
    const [file = '', ...rest] = command;
    const child = spawn(file, rest, { stdio: ['ignore', stdout, 'inherit'] });
    this.#children.push(child);
    return child;
  }

  async #startSsh(port: number): Promise<number> {
    const { near, far, host } = this.#ends;
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
      `ListenAddress ${host}`,
      `HostKey ${file(HOST_KEY)}`,
      `AuthorizedKeysFile ${file('user_key.pub')}`,
      `PidFile ${file('pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PermitRootLogin yes',
    ];
    writeFileSync(file('sshd_config'), `${lines.join('\n')}\n`);
    chmodSync(folder, 0o700);
    this.#spawn([...far, '/usr/sbin/sshd', '-D', '-q', '-f', file('sshd_config')]);
    await this.#listens(far, host, at);
    const forwarded = await freePort();
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      `UserKnownHostsFile=${file('known')}`,
      'LogLevel=ERROR',
    ];
    this.#spawn([
      ...[...near, 'ssh', '-N', '-F', 'none', '-i', file('user_key'), '-p', String(at)],
      ...options.flatMap((option) => ['-o', option]),
      ...['-L', `127.0.0.1:${forwarded}:127.0.0.1:${port}`, `root@${host}`],
    ]);
    await this.#listens(near, '127.0.0.1', forwarded);
    return forwarded;
  }

  async #startSocats(port: number): Promise<number> {
    const { near, far, host } = this.#ends;
    const [nearAt, farAt] = [await freePort(), await freePort()];
    const listen = (address: string, at: number) => `TCP-LISTEN:${at},bind=${address},fork,reuseaddr,nodelay`;
    const socat = ['socat', '-b', '65536'];
    this.#spawn([...far, ...socat, listen(host, farAt), `TCP:127.0.0.1:${port},nodelay`]);
    await this.#listens(far, host, farAt);
    this.#spawn([...near, ...socat, listen('127.0.0.1', nearAt), `TCP:${host}:${farAt},nodelay`]);
    await this.#listens(near, '127.0.0.1', nearAt);
    return nearAt;
  }

  /** Asked for where it is. */
  async #listens(where: readonly string[], host: string, port: number): Promise<void> {
    const endMs = performance.now() + DEADLINE_MS;
    const [file = '', ...words] = [...where, 'bash', '-c', `exec 3<>/dev/tcp/${host}/${port}`];
    while (performance.now() < endMs) {
      const isOpen = await promisify(execFile)(file, words).then(
        () => true,
        () => false,
      );
      if (isOpen) return;
    }
    throw new Error(`nothing listens on port ${port}`);
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
