// A nats-server of our own, for an agent that was given none: on loopback, on a port the kernel chose, closed to everybody
// without a password of it. Its users may touch what is theirs (proto/subjects.ts); its JetStream is there for the leases of stolen
// ports, in memory. Restarted at the same place when it dies, so that the services of the node find it again.

import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { Logger } from 'pino';
import { AppError } from '#proto/errors.ts';
import { OWN_USER, rightsOf, SERVICES, type ServiceName } from '#proto/subjects.ts';
import { Child } from './child.ts';

export interface NatsChild {
  /** Of the agent, `nats://USER:PASSWORD@127.0.0.1:PORT`: secret. */
  readonly url: string;
  /** The same for a service. */
  urlOf(service: ServiceName): string;
  readonly pid: number | undefined;
  close(): Promise<void>;
}

const READY_DEADLINE_MS = 5_000;
/** A port that was free may be taken before nats-server has it. */
const ATTEMPTS = 3;

/** It opens a port and reads one file of ours. Without root, or in a container without any, there are none to give up. */
const NO_CAPABILITIES = ['--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];

function hasCapabilities(): boolean {
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return process.geteuid?.() === 0 && BigInt(`0x${effective}`) !== 0n;
}

export async function startNats(runtimeDir: string, logger: Logger): Promise<NatsChild> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(runtimeDir, logger);
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      logger.warn({ err: error }, 'nats-server did not start, trying another port');
    }
  }
}

async function startOnce(runtimeDir: string, logger: Logger): Promise<NatsChild> {
  const port = await freePort();
  const users = USERS.map((who) => ({ who, password: randomBytes(24).toString('hex') }));
  const configPath = path.join(runtimeDir, 'nats.conf');
  const storePath = path.join(runtimeDir, 'nats');
  mkdirSync(storePath, { recursive: true, mode: 0o700 });
  // In a file and not in arguments, which every user of the machine can read.
  writeFileSync(configPath, natsConfig(port, users, storePath), { mode: 0o600 });
  let onReady: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => {
    onReady = resolve;
  });
  const child = new Child({
    name: 'nats-server',
    command: 'nats-server',
    args: ['--config', configPath],
    privileges: hasCapabilities() ? NO_CAPABILITIES : [],
    env: { PATH: process.env['PATH'] },
    logger,
    onLine: (line) => {
      logger.debug({ line }, 'nats-server');
      if (line.includes('Server is ready')) onReady();
    },
  });
  const close = async () => {
    await child.close();
    rmSync(configPath, { force: true });
    rmSync(storePath, { recursive: true, force: true });
  };
  try {
    await withinDeadline(ready);
  } catch (error) {
    await close();
    throw error;
  }
  const urlOf = (one: Who) => {
    const password = users.find(({ who }) => who === one)?.password ?? '';
    return `nats://${OWN_USER}${one}:${password}@127.0.0.1:${port}`;
  };
  return {
    url: urlOf('agent'),
    urlOf,
    get pid() {
      return child.pid;
    },
    close,
  };
}

type Who = 'agent' | ServiceName;
type User = Readonly<{ who: Who; password: string }>;

const USERS = ['agent', ...SERVICES] as const;

function natsConfig(port: number, users: readonly User[], storePath: string): string {
  return [
    `listen: "127.0.0.1:${port}"`,
    'authorization {',
    '  timeout: 1',
    '  users: [',
    ...users.map((user) => `    ${userConfig(user)}`),
    '  ]',
    '}',
    // The bucket of leases is limited to a fourth of it. No file is ever written: the folder stays empty.
    'jetstream {',
    `  store_dir: ${JSON.stringify(storePath)}`,
    '  max_memory_store: 4194304',
    '  max_file_store: 0',
    '}',
    // Ours are two or three; every local user may knock, and what has no password is cut after that second.
    'max_connections: 256',
    'max_control_line: 4096',
    // More than any announcement; what is larger does not belong on the bus.
    'max_payload: 65536',
    '',
  ].join('\n');
}

/** Who is asked may answer, once and within its second. */
function userConfig({ who, password }: User): string {
  const { publish, subscribe } = rightsOf(who);
  const list = (subjects: readonly string[]) => `[${subjects.map((one) => JSON.stringify(one)).join(', ')}]`;
  const permissions = `publish: ${list(publish)}, subscribe: ${list(subscribe)}, allow_responses: { max: 1, expires: "1s" }`;
  return `{ user: "${OWN_USER}${who}", password: "${password}", permissions: { ${permissions} } }`;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', (cause) => reject(AppError.from(cause, 'SERVICE_UNAVAILABLE')));
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as net.AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

async function withinDeadline(ready: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `nats-server was not ready within ${READY_DEADLINE_MS} ms; is it installed?`;
    timer = setTimeout(() => reject(new AppError('SERVICE_UNAVAILABLE', message)), READY_DEADLINE_MS);
  });
  try {
    await Promise.race([ready, late]);
  } finally {
    clearTimeout(timer);
  }
}
