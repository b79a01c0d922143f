// Where the agent is and what admits us: one that runs already, named by the environment, or one of our own for targets
// of this machine; for those of a cluster see cluster-backend.ts.

import { readFileSync, statSync } from 'node:fs';
import type { DialOptions, Renewal } from '#proto/dial.ts';
import { AppError } from '#proto/errors.ts';
import { mintToken, newSessionId, parseSessionKey, proofOfKey, proofOfReturn } from '#proto/token.ts';
import type { DirectSession } from './direct-way.ts';
import { type EmbeddedOptions, startEmbedded } from './embedded.ts';
import type { Mount } from './kube/mounts.ts';
import type { Log } from './log.ts';
import type { LocalTarget } from './target.ts';

export interface Backend {
  /** `unix:/path`, `host:port` or `tls:host:port`. */
  readonly address: string;
  readonly token: string;
  /** That it is we who come back when the connection broke. */
  readonly prove: Renewal['prove'];
  /** Where it takes more than a socket to reach the address. */
  readonly connect?: DialOptions['connect'];
  /** By which the agent shows that it is the one that has the key; without it the way to it vouches for it. */
  readonly proof?: string;
  /** In the agent's words. */
  readonly target: LocalTarget;
  /** Of a target that has successors: which one this is. */
  readonly place?: { readonly id: string; readonly text: string };
  /** Volumes of the target, where it is a container of a pod. */
  readonly mounts?: readonly Mount[];
  /** Once the session is open: what it makes better then, and says. */
  readonly onOpened?: (session: DirectSession) => Promise<string>;
  /** True when we started it, and so are the ones who end it. */
  readonly isEmbedded: boolean;
  /** Private to this run, and removed after it however it ends; null where nothing was started. */
  readonly folder: string | null;
  /** Ports of the target that the local process stands for, for whoever lists sessions elsewhere. */
  readonly tellPorts?: (ports: readonly number[]) => Promise<void>;
  /** Who has ended the session, where somebody else can; null for nobody. */
  readonly endedBy?: () => Promise<string | null>;
  /** Ends what we started and removes its files. Idempotent. */
  close(): Promise<void>;
  /** The agent's own log, where it is ours to read; empty otherwise. */
  agentLog(): Promise<string>;
}

const NOTHING_STARTED = { isEmbedded: false, folder: null, close: async () => {}, agentLog: async () => '' };

export interface BackendOptions {
  target: LocalTarget;
  env: NodeJS.ProcessEnv;
  log: Log;
  embedded: Omit<EmbeddedOptions, 'env' | 'log' | 'key' | 'signal'>;
  signal: AbortSignal;
}

/** From the start of a session to its opening; a stream that is open is not asked again. */
const TOKEN_TTL_S = 60;

/** Rejects with CONFIG_INVALID for an environment that cannot be right, or the reason the agent did not start. */
export async function reachBackend(options: BackendOptions): Promise<Backend> {
  const address = options.env['MIRRORD_AGENT_ADDRESS'] || null;
  if (address !== null) return givenBackend(address, options);
  if (options.env['MIRRORD_AGENT_KEY_FILE']) {
    throw refusal('MIRRORD_AGENT_KEY_FILE is set but MIRRORD_AGENT_ADDRESS is not');
  }
  return embeddedBackend(options);
}

async function givenBackend(address: string, { env, target }: BackendOptions): Promise<Backend> {
  assertAddress(address);
  const keyFile = env['MIRRORD_AGENT_KEY_FILE'] || null;
  if (keyFile === null) {
    throw refusal('MIRRORD_AGENT_ADDRESS is set but MIRRORD_AGENT_KEY_FILE is not');
  }
  const key = readKey(keyFile);
  const given = { address, target, ...admission(key), ...NOTHING_STARTED };
  const direct = DIRECT.exec(address);
  if (direct === null) return given;
  const { connectDirect, directKeyOf } = await import('#proto/direct-tls.ts');
  const [, v6, host = v6 ?? '', port] = direct;
  return { ...given, connect: (signal) => connectDirect(host, Number(port), directKeyOf(key), signal) };
}

async function embeddedBackend({ target, env, log, embedded, signal }: BackendOptions): Promise<Backend> {
  const { randomBytes } = await import('node:crypto');
  const key = randomBytes(32);
  const agent = await startEmbedded({ ...embedded, env, log, key, signal });
  return {
    address: agent.address,
    target,
    ...admission(key),
    isEmbedded: true,
    folder: agent.folder,
    close: () => agent.close(),
    agentLog: () => agent.readLog(),
  };
}

function admission(key: Uint8Array): Pick<Backend, 'token' | 'prove'> & { proof: string } {
  const token = mintToken(key, newSessionId(), TOKEN_TTL_S);
  const prove = (attempt: number, received: number) => proofOfReturn(key, token, attempt, received);
  return { token, prove, proof: proofOfKey(key, token) };
}

/** Another machine, in TLS with a key that is made from the session key. */
const DIRECT = /^tls:(?:\[([0-9a-fA-F:]+)\]|([^:[\]/\s]+)):([1-9][0-9]{0,4})$/;

/** Without TLS the token travels in the clear: only where no one else listens. */
function assertAddress(address: string): void {
  if (DIRECT.test(address)) return;
  if (/^unix:\/./.test(address) || /^(?:127\.0\.0\.1|\[::1\]|localhost):[1-9][0-9]{0,4}$/.test(address)) return;
  const wanted = 'unix:/path, 127.0.0.1:port or tls:host:port';
  throw refusal(`MIRRORD_AGENT_ADDRESS is ${JSON.stringify(address)}; it must be ${wanted}`);
}

function refusal(message: string, cause?: unknown): AppError {
  const advice =
    'both variables lead to an agent that runs already; without MIRRORD_AGENT_ADDRESS mirrord starts one of its own here.';
  return new AppError('CONFIG_INVALID', message, { cause, data: { advice } });
}

function readKey(path: string): Buffer {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0) {
      throw new AppError('CONFIG_INVALID', `mode ${(mode & 0o777).toString(8)} lets others read it: chmod 600`);
    }
    return parseSessionKey(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw refusal(`MIRRORD_AGENT_KEY_FILE: ${path}: ${faultOf(cause)}`, cause);
  }
}

function faultOf(cause: unknown): string {
  const { code } = Object(cause) as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'this user may not read it';
  return AppError.from(cause, 'CONFIG_INVALID').message;
}
