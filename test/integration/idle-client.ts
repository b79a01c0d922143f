// A client as a process of its own, to be stopped or killed: opens a session (GATEWAY, TOKEN, TARGET_PID), prints a line,
// and stays.

import { dial } from '#proto/dial.ts';
import { makeFrame } from '#proto/frame.ts';
import { FrameKind } from '#proto/gen/v1/frame.ts';
import { OpenSession } from '#proto/gen/v1/session.ts';

const opening = OpenSession.encode({
  protocolVersion: 1,
  clientVersion: 'test',
  target: { target: { $case: 'pid', value: Number(process.env['TARGET_PID']) } },
  wantsEnvironment: true,
  wantsFiles: true,
  wantsNetwork: false,
  wantsIncoming: false,
}).finish();
await dial({
  address: process.env['GATEWAY'] ?? '',
  service: 'Gateway',
  token: process.env['TOKEN'] ?? '',
  deadlineMs: 10_000,
  opening: makeFrame(0, FrameKind.FRAME_KIND_SESSION_OPEN, opening),
  onFrame: ({ kind }) => {
    if (kind === FrameKind.FRAME_KIND_SESSION_OPENED) process.stdout.write('open\n');
  },
  onClosed: (error) => {
    process.stdout.write(`closed ${error?.code}\n`);
    process.exit();
  },
});
setInterval(() => undefined, 1_000);
