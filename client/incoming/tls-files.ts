// The files that TLS of stolen ports needs: certificates and keys, of the target or of this machine. Read once, before the local
// process starts, so that what is wrong with them is said by their names; kept in memory until the session ends.

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { errnoName } from '#proto/errno.ts';
import { AppError } from '#proto/errors.ts';
import type { TlsFacts, TlsIdentity } from '#proto/gen/v1/incoming.ts';
import type { TlsDeliveryConfig, TlsIdentityConfig } from '../config/schema/tls.ts';
import { expectOpened } from '../layer/replies.ts';
import type { FileSession } from '../session.ts';
import { type Secure, TlsDelivery } from './tls-delivery.ts';

/** Of one file; the stealer takes no larger one. */
const MAX_FILE_BYTES = 64 * 1024;
/** Of all authorities that a local process may be signed by. */
const MAX_TRUST_FILES = 1_000;
const O_RDONLY = 0;

export interface TlsSources {
  readonly session: Pick<FileSession, 'request' | 'tell'>;
  readonly cwd: string;
  readonly onTrouble: (text: string) => void;
}

type Loaded = Readonly<{ ports: readonly number[] | null; identity: TlsIdentity }>;

/** Of one session. */
export class IncomingTls {
  readonly #identities: readonly Loaded[];
  readonly #delivery: TlsDelivery;
  readonly #onTrouble: (text: string) => void;
  /** Ports whose local process did not take TLS, which is told once. */
  readonly #faults = new Set<number>();

  private constructor(identities: readonly Loaded[], delivery: TlsDelivery, onTrouble: (text: string) => void) {
    this.#identities = identities;
    this.#delivery = delivery;
    this.#onTrouble = onTrouble;
  }

  /** Rejects with CONFIG_INVALID, naming the file, and never with a byte of it. */
  static async load(
    identities: readonly TlsIdentityConfig[],
    delivery: TlsDeliveryConfig | null,
    sources: TlsSources,
  ): Promise<IncomingTls> {
    const loaded: Loaded[] = [];
    for (const config of identities) {
      const read = config.from === 'local' ? readLocal : (file: string) => readTarget(file, sources);
      loaded.push({ ports: config.ports, identity: await loadIdentity(config, read, sources) });
    }
    return new IncomingTls(loaded, await loadDelivery(delivery, sources), sources.onTrouble);
  }

  /** What lies on this machine, looked at before anything is started for it; rejects as `load` does. */
  static async check(
    identities: readonly TlsIdentityConfig[],
    delivery: TlsDeliveryConfig | null,
    cwd: string,
  ): Promise<void> {
    for (const config of identities) {
      if (config.from !== 'local') continue;
      const { key, targetKey } = await loadIdentity(config, readLocal, { cwd, onTrouble: () => {} });
      for (const secret of [key, targetKey]) secret.fill(0);
    }
    await loadDelivery(delivery, { cwd });
  }

  /** Who the stealer may be on a port of the target. */
  identitiesFor(port: number): TlsIdentity[] {
    const meant = this.#identities.filter(({ ports }) => ports === null || ports.includes(port));
    return meant.map(({ identity }) => identity);
  }

  /** How a connection reaches the local process that came to the port in TLS which the stealer has read; null: as plaintext. */
  secureFor(port: number, facts: TlsFacts): Secure | null {
    const secure = this.#delivery.secure(facts);
    if (secure === null) return null;
    return (raw) => {
      const socket = secure(raw);
      const onError = ({ message }: Error) => this.#failed(port, message);
      socket.once('error', onError);
      socket.once('secureConnect', () => {
        if (!socket.destroyed) socket.off('error', onError);
      });
      return socket;
    };
  }

  #failed(port: number, why: string): void {
    if (this.#faults.has(port)) return;
    this.#faults.add(port);
    const remedy = 'with "tls_delivery": {"protocol": "tcp"} it gets plaintext';
    this.#onTrouble(`port ${port}: the local process does not take TLS (${why}); ${remedy}`);
  }

  /** The session is over. */
  forget(): void {
    for (const { identity } of this.#identities) for (const key of [identity.key, identity.targetKey]) key.fill(0);
  }
}

async function loadIdentity(
  config: TlsIdentityConfig,
  readFrom: (file: string, cwd: string) => Promise<Buffer>,
  { cwd, onTrouble }: Omit<TlsSources, 'session'>,
): Promise<TlsIdentity> {
  const read = async (file: string | null) => (file === null ? Buffer.alloc(0) : await readFrom(file, cwd));
  const identity: TlsIdentity = {
    certificate: await read(config.certificate),
    key: await read(config.key),
    serverNames: [...config.server_names],
    clientRoots: await read(config.client_roots),
    targetCertificate: await read(config.target_certificate),
    targetKey: await read(config.target_key),
    targetRoots: await read(config.target_roots),
  };
  checkPair(config.certificate, identity.certificate, config.key, identity.key);
  if (config.target_certificate !== null && config.target_key !== null) {
    checkPair(config.target_certificate, identity.targetCertificate, config.target_key, identity.targetKey);
  }
  for (const [file, pem] of [
    [config.client_roots, identity.clientRoots],
    [config.target_roots, identity.targetRoots],
  ] as const) {
    if (file !== null) certificateOf(file, pem);
  }
  const end = new Date(certificateOf(config.certificate, identity.certificate).validTo);
  if (end.getTime() < Date.now()) {
    onTrouble(`${config.certificate} has expired at ${end.toISOString()}: clients that look will turn away`);
  }
  return identity;
}

async function loadDelivery(config: TlsDeliveryConfig | null, { cwd }: Pick<TlsSources, 'cwd'>): Promise<TlsDelivery> {
  if (config === null) return new TlsDelivery({ protocol: 'tls', serverName: null, trustRoots: [], pinned: null });
  const roots: Buffer[] = [];
  for (const place of config.trust_roots) {
    for (const file of await filesOf(place, cwd)) roots.push(await readLocal(file, cwd));
  }
  const pinned = config.server_cert === null ? null : await readLocal(config.server_cert, cwd);
  return new TlsDelivery({
    protocol: config.protocol,
    serverName: config.server_name,
    trustRoots: roots,
    pinned: pinned === null ? null : certificateOf(config.server_cert ?? '', pinned),
  });
}

/** A file, or what lies in a folder. */
async function filesOf(place: string, cwd: string): Promise<string[]> {
  const at = path.resolve(cwd, place);
  try {
    if (!(await stat(at)).isDirectory()) return [at];
    const names = (await readdir(at)).filter((name) => /\.(pem|crt|cer)$/.test(name)).sort();
    if (names.length > MAX_TRUST_FILES) throw refused(place, `has more than ${MAX_TRUST_FILES} certificates`);
    return names.map((name) => path.join(at, name));
  } catch (thrown) {
    throw asRefusal(place, 'on this machine', thrown);
  }
}

async function readLocal(file: string, cwd: string): Promise<Buffer> {
  try {
    const bytes = await readFile(path.resolve(cwd, file));
    if (bytes.length > MAX_FILE_BYTES) throw tooLarge(file);
    return bytes;
  } catch (thrown) {
    throw asRefusal(file, 'on this machine', thrown);
  }
}

/** As the target's main process would: with its user and its groups. */
async function readTarget(file: string, { session }: TlsSources): Promise<Buffer> {
  if (!path.isAbsolute(file)) throw refused(file, 'is a file of the target and wants an absolute path');
  const value = { path: Buffer.from(file), flags: O_RDONLY, mode: 0, inlineBytes: MAX_FILE_BYTES, keepOpen: false };
  const { reply, data } = await session.request({ $case: 'open', value });
  if (reply.errno !== 0) throw refused(file, `cannot be read in the target: ${errnoName(reply.errno)}`);
  const { handle } = expectOpened(reply);
  if (handle === 0) return Buffer.from(data);
  session.tell({ $case: 'close', value: { handle } });
  throw tooLarge(file);
}

function checkPair(certificateFile: string, pem: Uint8Array, keyFile: string, key: Uint8Array): void {
  const certificate = certificateOf(certificateFile, pem);
  if (!certificate.checkPrivateKey(keyOf(keyFile, key))) throw refused(keyFile, `is not the key of ${certificateFile}`);
}

function keyOf(file: string, pem: Uint8Array): KeyObject {
  try {
    return createPrivateKey(Buffer.from(pem));
  } catch {
    throw refused(file, 'is no key as PEM that can be used without a passphrase');
  }
}

function certificateOf(file: string, pem: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw refused(file, 'is no certificate as PEM');
  }
}

function tooLarge(file: string): AppError {
  return refused(file, `has more than ${MAX_FILE_BYTES} bytes, which no certificate or key needs`);
}

function asRefusal(file: string, where: string, thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
  return refused(file, `cannot be read ${where}: ${code}`);
}

function refused(file: string, why: string): AppError {
  return new AppError('CONFIG_INVALID', `feature.network.incoming: ${file} ${why}`);
}
