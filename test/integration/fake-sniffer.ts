// Stands in for the sniffer where a test needs it to obey: a process that speaks the true protocol and captures nothing.
// Port 80: a connection with two pieces of data. 81: refused. 83: dies by SIGKILL when it is granted credit.

import { AppError, toErrorDetail } from '#proto/errors.ts';
import { type Frame, makeFrame } from '#proto/frame.ts';
import { ErrorDetail } from '#proto/gen/v1/error.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { AttachTarget } from '#proto/gen/v1/fs_env.ts';
import { Arrived, Counters, Ended, EndReason, IncomingFacts, Subscribe, Subscribed } from '#proto/gen/v1/incoming.ts';
import { IncomingIds } from '#proto/incoming.ts';
import type { SessionHandlers } from '#proto/session-stream.ts';
import { internet, toSocketAddress } from '#proto/socket-address.ts';
import { Bus } from '#runtime/bus.ts';
import { announceService } from '#runtime/discovery.ts';
import { createLogger } from '#runtime/logger.ts';
import { type IncomingSession, serveSessions } from '#runtime/rpc.ts';
import { readSettings, sessionKey, text } from '#runtime/settings.ts';
import { Shutdown } from '#runtime/shutdown.ts';

const settings = readSettings(process.env, {
  natsUrl: text('MIRRORD_NATS_URL'),
  node: text('MIRRORD_NODE_NAME'),
  runtimeDir: text('MIRRORD_RUNTIME_DIR'),
  key: sessionKey('MIRRORD_SESSION_KEY_FILE'),
});
const logger = createLogger('sniffer', { logLevel: 'warn', logFile: null });
const shutdown = new Shutdown({ logger, exitWithParent: true });

const server = await serveSessions({
  address: `unix:${settings.runtimeDir}/sniffer.sock`,
  service: 'Sniffer',
  key: settings.key,
  maxSessions: 100,
  logger,
  peer: 'agent',
  onSession,
});
const bus = await Bus.connect({ url: settings.natsUrl, name: 'sniffer', deadlineMs: 5_000, logger });
await announceService(bus, { service: 'sniffer', node: settings.node, address: server.address, version: '0.0.0' });
await shutdown.run();
process.exit();

function onSession({ stream }: IncomingSession): SessionHandlers {
  const ids = new IncomingIds('sniffer');
  const send = (id: number, kind: FrameKind, head: Uint8Array, data = '') =>
    stream.send(makeFrame(id, kind, head, Buffer.from(data)));
  let pid = 0;
  let port = 0;
  const subscribe = ({ id, head }: Frame) => {
    const asked = Subscribe.decode(head);
    port = asked.port;
    if (port === 81) {
      const error = new AppError('NOT_PERMITTED', 'port 81 is not for you');
      send(id, FrameKind.FRAME_KIND_ERROR, ErrorDetail.encode(toErrorDetail(error)).finish());
      return;
    }
    const notes = [`process ${pid}`];
    const subscribed = Subscribed.encode({
      olderConnections: asked.isAgain ? 99 : 0,
      notes,
      olderPeers: [],
      standing: undefined,
      lease: '',
    }).finish();
    send(id, FrameKind.FRAME_KIND_SUBSCRIBED, subscribed);
    const connection = ids.take(() => false);
    const arrived = Arrived.encode({
      subscription: id,
      peer: toSocketAddress(internet(Buffer.from([10, 9, 9, 9]), 4_000)),
      local: toSocketAddress(internet(Buffer.from([10, 1, 2, 4]), port)),
      atNs: 1n,
      isOlder: false,
      creditBytes: 0,
      isForRequests: false,
      interface: 'eth0',
      tls: undefined,
    }).finish();
    send(connection, FrameKind.FRAME_KIND_ARRIVED, arrived, 'first');
    send(connection, FrameKind.FRAME_KIND_DATA, Buffer.alloc(0), 'second');
  };
  return {
    onFrame: (frame) => {
      switch (frame.kind) {
        case FrameKind.FRAME_KIND_SESSION_OPEN:
          pid = AttachTarget.decode(frame.head).pid;
          send(0, FrameKind.FRAME_KIND_SESSION_OPENED, IncomingFacts.encode({ method: 'fake', notes: [] }).finish());
          return;
        case FrameKind.FRAME_KIND_SUBSCRIBE:
          subscribe(frame);
          return;
        case FrameKind.FRAME_KIND_CREDIT:
          if (port === 83) process.kill(process.pid, 'SIGKILL');
          return;
        case FrameKind.FRAME_KIND_RESET: {
          const reason = EndReason.END_REASON_CLIENT_RESET;
          const head = Ended.encode({
            reason,
            error: undefined,
            bytes: 11n,
            lostBytes: 0n,
            atNs: 2n,
            isUnanswered: false,
          }).finish();
          send(frame.id, FrameKind.FRAME_KIND_ENDED, head);
          return;
        }
        case FrameKind.FRAME_KIND_UNSUBSCRIBE: {
          const none = { datagrams: 0n, requests: 0n, notMatched: 0n, notSampled: 0n, losses: [] };
          const head = Counters.encode({ connections: 1n, bytes: 11n, ...none }).finish();
          send(frame.id, FrameKind.FRAME_KIND_UNSUBSCRIBED, head);
        }
      }
    },
    onClosed: () => undefined,
  };
}
