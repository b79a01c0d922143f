// Where the agent is and what admits us: one that runs already, named by the environment, or one of our own for targets
// of this machine.

import { readFile } from 'node:fs/promises';
import { AppError } from '#proto/errors.ts';
import { mintToken, newSessionId, parseSessionKey } from '#proto/token.ts';
import { type EmbeddedOptions, startEmbedded } from './embedded.ts';
import type { Log } from './log.ts';

export interface Backend {
  /** `unix:/path` or `host:port`. */
  readonly address: string;
  readonly token: string;
  /** True when we started it, and so are the ones who end it. */
  readonly isEmbedded: boolean;
  /** Ends what we started and removes its files. Idempotent. */
  close(): Promise<void>;
  /** The agent's own log, where it is ours to read; empty otherwise. */
  agentLog(): Promise<string>;
}

export interface BackendOptions {
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
  return address === null ? embeddedBackend(options) : givenBackend(address, options.env);
}

async function givenBackend(address: string, env: NodeJS.ProcessEnv): Promise<Backend> {
  assertAddress(address);
  const keyFile = env['MIRRORD_AGENT_KEY_FILE'] || null;
  if (keyFile === null) {
    throw new AppError('CONFIG_INVALID', 'MIRRORD_AGENT_ADDRESS is set but MIRRORD_AGENT_KEY_FILE is not');
  }
  const key = await readKey(keyFile);
  const token = mintToken(key, newSessionId(), TOKEN_TTL_S);
  return { address, token, isEmbedded: false, close: async () => {}, agentLog: async () => '' };
}

async function embeddedBackend({ env, log, embedded, signal }: BackendOptions): Promise<Backend> {
  const { randomBytes } = await import('node:crypto');
  const key = randomBytes(32);
  const agent = await startEmbedded({ ...embedded, env, log, key, signal });
  const token = mintToken(key, newSessionId(), TOKEN_TTL_S);
  return {
    address: agent.address,
    token,
    isEmbedded: true,
    close: () => agent.close(),
    agentLog: () => agent.readLog(),
  };
}

/** The token travels in the clear: only where no one else listens. */
function assertAddress(address: string): void {
  if (/^unix:\/./.test(address) || /^(?:127\.0\.0\.1|\[::1\]|localhost):[1-9][0-9]{0,4}$/.test(address)) return;
  const wanted = 'unix:/path or 127.0.0.1:port';
  throw new AppError('CONFIG_INVALID', `MIRRORD_AGENT_ADDRESS is ${JSON.stringify(address)}; it must be ${wanted}`);
}

async function readKey(path: string): Promise<Buffer> {
  try {
    return parseSessionKey(await readFile(path, 'utf8'));
  } catch (cause) {
    const { message } = AppError.from(cause, 'CONFIG_INVALID');
    throw new AppError('CONFIG_INVALID', `MIRRORD_AGENT_KEY_FILE: ${message}`, { cause });
  }
}
