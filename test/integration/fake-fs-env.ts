// Stands in for fs-env where a test needs it to misbehave: a process that speaks the true protocol, knows no files, and
// takes its orders from the requests. Open: one file. Read: so many bytes. Stat: answered. Sync: never answered. MakeDir: dies by SIGKILL.

import { type Frame, makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget, FileReply, FileRequest, FileStat } from '#proto/gen/v1/fs_env.ts';
import { TargetFacts } from '#proto/gen/v1/session.ts';
import type { SessionHandlers } from '#proto/session-stream.ts';
import { Bus } from '#runtime/bus.ts';
import { announceService } from '#runtime/discovery.ts';
import { createLogger } from '#runtime/logger.ts';
import { type IncomingSession, serveSessions } from '#runtime/rpc.ts';
import { readSettings, sessionKey, text } from '#runtime/settings.ts';
import { Shutdown } from '#runtime/shutdown.ts';

const NO_STAT = FileStat.decode(Buffer.alloc(0));

const settings = readSettings(process.env, {
  natsUrl: text('MIRRORD_NATS_URL'),
  node: text('MIRRORD_NODE_NAME'),
  runtimeDir: text('MIRRORD_RUNTIME_DIR'),
  key: sessionKey('MIRRORD_SESSION_KEY_FILE'),
});
const logger = createLogger('fs-env', { logLevel: 'warn', logFile: null });
const shutdown = new Shutdown({ logger, exitWithParent: true });

const server = await serveSessions({
  address: `unix:${settings.runtimeDir}/fs-env.sock`,
  service: 'FsEnv',
  key: settings.key,
  maxSessions: 100,
  logger,
  peer: 'agent',
  onSession,
});
const bus = await Bus.connect({ url: settings.natsUrl, name: 'fs-env', deadlineMs: 5_000, logger });
await announceService(bus, { service: 'fs-env', node: settings.node, address: server.address, version: '0.0.0' });
await shutdown.run();
process.exit();

function onSession({ stream }: IncomingSession): SessionHandlers {
  return {
    onFrame: (frame) => {
      if (frame.kind === FrameKind.FRAME_KIND_SESSION_OPEN) {
        const { pid, startTimeTicks, containerId } = AttachTarget.decode(frame.head);
        const none = Buffer.alloc(0);
        const environment = [{ name: Buffer.from('FROM'), value: Buffer.from('fake fs-env') }];
        const facts = { pid, startTimeTicks, containerId, environment, resolvConf: none, hosts: none, hostname: none };
        stream.send(makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPENED, TargetFacts.encode(facts).finish()));
      } else if (frame.kind === FrameKind.FRAME_KIND_FILE_REQUEST) {
        const answer = answerTo(frame);
        if (answer !== null) stream.send(answer);
      }
    },
    onClosed: () => undefined,
  };
}

function answerTo({ id, head }: Frame): Frame | null {
  const { op } = FileRequest.decode(head);
  const done = FileReply.encode({ errno: 0, result: undefined }).finish();
  switch (op?.$case) {
    case 'read':
      return makeFrame(id, FrameKind.FRAME_KIND_FILE_REPLY, done, Buffer.alloc(op.value.length, 'x'));
    case 'open': {
      const stat = { ...NO_STAT, mode: 0o100_644, inode: 1n, bornNs: 1n };
      const result = { $case: 'opened', value: { handle: 1, stat } } as const;
      return makeFrame(id, FrameKind.FRAME_KIND_FILE_REPLY, FileReply.encode({ errno: 0, result }).finish());
    }
    case 'stat':
      return makeFrame(id, FrameKind.FRAME_KIND_FILE_REPLY, done);
    case 'makeDir':
      process.kill(process.pid, 'SIGKILL');
      return null;
    default:
      return null;
  }
}
