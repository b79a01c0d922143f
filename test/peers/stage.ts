// The stage of every test here: a target, a second network namespace behind it with name server and servers that nothing
// else reaches, the agent beside the target, and a folder on this machine. What a program run by `exec` gets from there has
// gone the whole way.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BEYOND, type Peer, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import type { Outcome } from '../fixtures/run.ts';
import { type RunAs, Whole } from '../fixtures/whole.ts';

export const DOMAIN = 'shop.test';
/** The address that servers beyond the target see. */
export const TARGET = '10.99.0.1';

export interface StageOptions {
  /** Of the name server, `NAME/TYPE=VALUE`, beside `web`, `git`, ..., which are all BEYOND. */
  records?: readonly string[];
  /** Of the target, beside those that say where its names are looked up. */
  files?: Readonly<Record<string, string>>;
}

export class Stage {
  readonly network: TargetNetwork;
  readonly whole: Whole;
  readonly names: Peer;
  /** Everybody may read it. */
  readonly folder: string;

  private constructor(network: TargetNetwork, whole: Whole, names: Peer, folder: string) {
    this.network = network;
    this.whole = whole;
    this.names = names;
    this.folder = folder;
  }

  static async start(options: StageOptions = {}): Promise<Stage> {
    const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-peers-'));
    chmodSync(folder, 0o755);
    const network = await startNetwork({
      files: {
        '/etc/resolv.conf': `nameserver ${BEYOND}\nsearch ${DOMAIN}\noptions ndots:2\n`,
        '/etc/hosts': `127.0.0.1 localhost\n${BEYOND} by-file\n`,
        ...options.files,
      },
    });
    try {
      const known = ['web', 'git', 'sql', 'store', 'bus', 'calls', 'shell'].map(
        (name) => `${name}.${DOMAIN}/A=${BEYOND}`,
      );
      const server = path.join(import.meta.dirname, '../fixtures/name-server.mjs');
      const records = [...known, ...(options.records ?? [])];
      const names = await network.serve(network.beyond, [process.execPath, server, BEYOND, ...records]);
      return new Stage(network, await Whole.start({ target: network.target }), names, folder);
    } catch (cause) {
      await network[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
      throw cause;
    }
  }

  exec(command: readonly string[], options: RunAs = {}): Promise<Outcome> {
    return this.whole.exec(command, { work: this.folder, ...options });
  }

  /** A file or folder where the local process may read it: the checkout's folders are asked for in the target. */
  here(file: string): string {
    const copy = path.join(this.folder, path.basename(file));
    cpSync(file, copy, { recursive: true });
    return copy;
  }

  /** A script with its arguments as `$1`, `$2`. */
  shell(script: string, ...words: string[]): Promise<Outcome> {
    return this.exec(['sh', '-c', `set -eu\n${script}`, 'sh', ...words]);
  }

  /** A script of test/peers/src, in the namespace beyond the target. */
  serveScript(name: string, ...words: string[]): Promise<Peer> {
    return this.network.serve(this.network.beyond, [process.execPath, source(name), ...words]);
  }

  makeFolder(name: string): string {
    const made = path.join(this.folder, name);
    mkdirSync(made);
    return made;
  }

  /** Content that no two offsets share, by which what arrives is known to be all of it and in order. */
  makeFile(name: string, bytes: number): { file: string; sha256: string } {
    const content = Buffer.alloc(bytes);
    for (let at = 0; at + 4 <= bytes; at += 4) content.writeUInt32LE(Math.imul(at, 2_654_435_761) >>> 0, at);
    const file = path.join(this.folder, name);
    writeFileSync(file, content, { mode: 0o644 });
    return { file, sha256: createHash('sha256').update(content).digest('hex') };
  }

  /** A key and a certificate for `name`, which signs itself. */
  makeCertificate(name: string): { key: string; certificate: string } {
    const key = path.join(this.folder, `${name}.key`);
    const certificate = path.join(this.folder, `${name}.crt`);
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
    const about = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`];
    const files = ['-keyout', key, '-out', certificate];
    execFileSync('openssl', ['req', '-x509', ...kind, ...about, ...files], { stdio: 'pipe' });
    return { key, certificate };
  }

  async close(): Promise<void> {
    await this.whole.close();
    await this.network[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

export function source(name: string): string {
  return path.join(import.meta.dirname, 'src', name);
}
