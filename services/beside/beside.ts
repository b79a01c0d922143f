// The agent's lifeline (services/agent/lifeline.ts) from the other side.

import net from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { AppError } from '#proto/errors.ts';
import { SERVICES } from '#proto/subjects.ts';

/** The containers of a pod start one after the other, on a node that may be busy. */
const AGENT_DEADLINE_MS = 60_000;
const RETRY_MS = 25;
const MAX_LINE_CHARS = 4_096;
/** For an orderly end of the service; beyond it it hangs. */
const END_DEADLINE_MS = 8_000;

export interface Lifeline {
  readonly natsUrl: string;
  readonly socket: net.Socket;
}

/** Does not return: the service ends the process. Rejects when it could not become one. */
export async function beside(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const [, own = '', service = ''] = argv;
  if (!SERVICES.some((name) => name === service)) {
    throw new AppError('CONFIG_INVALID', `service ${JSON.stringify(service)} is not one of ${SERVICES.join(', ')}`);
  }
  const runtimeDir = env['MIRRORD_RUNTIME_DIR'];
  if (!runtimeDir) throw new AppError('CONFIG_INVALID', 'MIRRORD_RUNTIME_DIR is not set');
  const { natsUrl, socket } = await reachAgent(path.join(runtimeDir, 'lifeline.sock'), service, AGENT_DEADLINE_MS);
  socket.once('close', () => {
    // The pod is over: nothing of it is to be started anew, however this ends.
    process.once('exit', () => {
      process.exitCode = 0;
    });
    process.kill(process.pid, 'SIGTERM');
    setTimeout(() => process.exit(), END_DEADLINE_MS).unref();
  });
  env['MIRRORD_NATS_URL'] = natsUrl;
  await import(pathToFileURL(path.join(path.dirname(own), `${service}.js`)).href);
}

/** Tries again until the agent is there. Rejects with DEADLINE_EXCEEDED or PROTOCOL_VIOLATION. */
async function reachAgent(socketPath: string, service: string, deadlineMs: number): Promise<Lifeline> {
  const untilMs = performance.now() + deadlineMs;
  for (;;) {
    const socket = await connected(socketPath);
    if (socket !== null) {
      socket.write(`${service}\n`);
      return { natsUrl: await readNatsUrl(socket), socket };
    }
    if (performance.now() > untilMs) {
      throw new AppError('DEADLINE_EXCEEDED', `no agent at ${socketPath} within ${deadlineMs} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** null: nobody is there yet. */
function connected(socketPath: string): Promise<net.Socket | null> {
  return new Promise((resolve) => {
    const socket = net.connect({ path: socketPath });
    socket.once('connect', () => resolve(socket));
    // Stays: what comes later shows in 'close'.
    socket.on('error', () => resolve(null));
  });
}

function readNatsUrl(socket: net.Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const refuse = (why: string) => {
      socket.destroy();
      reject(new AppError('PROTOCOL_VIOLATION', `the agent's lifeline ${why}`));
    };
    socket.setEncoding('utf8');
    socket.once('close', () => refuse('ended before it said where the bus is'));
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0 && text.length <= MAX_LINE_CHARS) return;
      const natsUrl = end < 0 ? null : natsUrlOf(text.slice(0, end));
      if (natsUrl === null) refuse('said something else than it promises');
      else resolve(natsUrl);
    });
  });
}

function natsUrlOf(line: string): string | null {
  try {
    const { natsUrl } = Object(JSON.parse(line)) as { natsUrl?: unknown };
    return typeof natsUrl === 'string' ? natsUrl : null;
  } catch {
    return null;
  }
}
