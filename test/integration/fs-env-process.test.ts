import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { Bus } from '../../services/runtime/bus.ts';
import { lookupService, watchService } from '../../services/runtime/discovery.ts';
import { can } from '../can.ts';
import { startTarget } from '../fixtures/target.ts';
import { Files, key } from './fs-env-harness.ts';

const SECRET = 'value-that-no-log-may-hold';
const checkout = path.join(import.meta.dirname, '../..');
const required = { yes: can.root.yes && can.nats.yes, why: can.root.why || can.nats.why };

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  return port;
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return child.exitCode;
}

describe.skipIf(!required.yes)(`the fs-env process (${required.why})`, () => {
  test('is found over NATS, serves on a socket of its own, logs no value and ends with its parent', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-fs-env-'));
    const port = await freePort();
    const nats = spawn('nats-server', ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    const natsUrl = `nats://127.0.0.1:${port}`;
    const logger = pino({ level: 'silent' });
    writeFileSync(`${folder}/key`, key.toString('hex'), { mode: 0o600 });
    const child = spawn(process.execPath, [path.join(checkout, 'dist/fs-env.js')], {
      env: {
        PATH: process.env['PATH'],
        MIRRORD_NATS_URL: natsUrl,
        MIRRORD_FS_ENV_LISTEN: `${folder}/socket`,
        MIRRORD_SESSION_KEY_FILE: `${folder}/key`,
        MIRRORD_NODE_NAME: 'node-1',
        MIRRORD_LOG_LEVEL: 'trace',
        MIRRORD_LOG_FILE: `${folder}/log`,
        MIRRORD_EXIT_WITH_PARENT: '1',
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
      expect(JSON.parse(line)).toMatchObject({ ready: true, address: `unix:${folder}/socket` });
      expect(statSync(`${folder}/socket`).mode & 0o777).toBe(0o600);
      const bus = await Bus.connect({ url: natsUrl, name: 'test', deadlineMs: 5_000, logger });
      const goodbye = new Promise((resolve) => {
        watchService(bus, 'node-1', 'fs-env', { onUp: () => undefined, onDown: resolve });
      });
      const found = await lookupService(bus, 'node-1', 'fs-env', 1_000);
      await using target = await startTarget({ files: { [`/${SECRET}`]: SECRET }, env: { SECRET } });
      using files = await Files.open(found, { pid: target.pid });
      expect(files.facts.environment[0]?.value.toString()).toBe(SECRET);
      expect((await files.open(`/${SECRET}`, 0, 0, 1_000)).data.toString()).toBe(SECRET);
      await expect(files.raw(Buffer.from(SECRET))).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
      child.stdin?.end();
      await goodbye;
      expect(await ended(child)).toBe(0);
      expect(readFileSync(`${folder}/log`, 'utf8')).toContain('session opened');
      expect(readFileSync(`${folder}/log`, 'utf8')).not.toContain(SECRET);
      await bus.close();
    } finally {
      child.kill('SIGKILL');
      nats.kill('SIGKILL');
      await Promise.all([ended(child), ended(nats)]);
      rmSync(folder, { recursive: true });
    }
  });
});
