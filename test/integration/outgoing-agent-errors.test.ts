import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ERRNO, type ErrnoName } from '../../proto/errno.ts';
import { AppError } from '../../proto/errors.ts';
import { Transport } from '../../proto/gen/v1/network.ts';
import { DEFAULT_LIMITS } from '../../services/agent/outgoing/outgoing.ts';
import { can } from '../can.ts';
import { BEYOND, startNetwork, type TargetNetwork } from '../fixtures/network.ts';
import { internet, OutgoingClient, openOutgoing, type TestOutgoing } from '../fixtures/outgoing-client.ts';

describe.skipIf(!can.root.yes)(`dials that fail ${can.root.why}`, () => {
  let network: TargetNetwork;
  let agent: TestOutgoing;
  let client: OutgoingClient;

  beforeAll(async () => {
    network = await startNetwork();
    const { run, target, beyond } = network;
    await run(target, 'ip route add unreachable 10.98.1.0/24');
    await run(target, 'ip route add prohibit 10.98.2.0/24');
    // Beyond drops what is not for it: no answer ever comes. The kernel gives up after 1 + 2 s.
    await run(target, `ip route add 10.98.3.0/24 via ${BEYOND}`);
    await run(target, 'sysctl -qw net.ipv4.tcp_syn_retries=1');
    await run(beyond, 'sysctl -qw net.ipv4.ip_forward=0');
    await run(target, 'sysctl -qw net.ipv4.neigh.toward.retrans_time_ms=100');
    // An address of the node, for the rule about it.
    await run(beyond, 'ip addr add 10.99.0.10/24 dev back');
    await network.servePeer(beyond, BEYOND);
    agent = openOutgoing({
      nodeAddresses: ['10.99.0.10'],
      limits: { ...DEFAULT_LIMITS, connections: 8 },
    });
    client = new OutgoingClient(agent.outgoing, network.identity);
  });

  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]();
    await network?.[Symbol.asyncDispose]();
  });

  async function failure(options: Parameters<OutgoingClient['connect']>[0]): Promise<AppError> {
    const error = await client.connect(options).then(
      () => new AppError('BUG', 'it was connected'),
      (thrown: unknown) => AppError.from(thrown, 'BUG'),
    );
    return error;
  }

  test.each<[string, string, number, ErrnoName]>([
    ['a port that nobody listens on', BEYOND, 9, 'ECONNREFUSED'],
    ['a host that is not there', '10.99.0.77', 80, 'EHOSTUNREACH'],
    ['an unreachable route', '10.98.1.1', 80, 'EHOSTUNREACH'],
    ['a prohibited route', '10.98.2.1', 80, 'EACCES'],
    ['no route', '203.0.113.1', 80, 'ENETUNREACH'],
    ['no route, over IPv6', '2001:db8::1', 80, 'ENETUNREACH'],
    ['no answer', '10.98.3.1', 80, 'ETIMEDOUT'],
  ])('%s is the errno of the target kernel', async (_, address, port, errno) => {
    const error = await failure({ to: internet(address, port) });
    expect([error.code, error.errno, error.message]).toEqual([
      'CONNECTION_FAILED',
      ERRNO[errno],
      expect.stringContaining(errno),
    ]);
  });

  test('a datagram socket that cannot be connected says why', async () => {
    const error = await failure({ transport: Transport.TRANSPORT_UDP, to: internet('203.0.113.1', 53) });
    expect([error.code, error.errno]).toEqual(['CONNECTION_FAILED', ERRNO.ENETUNREACH]);
  });

  test('a dial ends at the deadline the client gives', async () => {
    const startedMs = performance.now();
    const error = await failure({ to: internet('10.98.3.1', 80), deadlineMs: 100 });
    expect([error.code, error.errno]).toEqual(['DEADLINE_EXCEEDED', ERRNO.ETIMEDOUT]);
    expect(performance.now() - startedMs).toBeLessThan(900);
  });

  test.each([
    ['169.254.169.254', 80, 'cloud metadata'],
    ['::ffff:169.254.169.254', 80, 'cloud metadata'],
    ['fd00:ec2::254', 80, 'cloud metadata'],
    ['169.254.1.1', 80, 'link-local'],
    ['fe80::1', 80, 'link-local'],
    ['10.99.0.10', 10_250, 'kubelet'],
  ])('%s port %i is refused with EACCES and the name of the rule', async (address, port, rule) => {
    const error = await failure({ to: internet(address, port) });
    expect([error.code, error.errno, error.message]).toEqual([
      'NOT_PERMITTED',
      ERRNO.EACCES,
      expect.stringContaining(rule),
    ]);
  });

  test('what is refused by default is reached when it is granted', async () => {
    await using granting = await openOutgoing({ nodeAddresses: ['10.99.0.10'], allow: ['10.99.0.10:10250'] });
    const granted = new OutgoingClient(granting.outgoing, network.identity);
    const error = await granted.connect({ to: internet('10.99.0.10', 10_250) }).catch((thrown: AppError) => thrown);
    expect(error).toMatchObject({ errno: ERRNO.ECONNREFUSED });
    await granted.session.close();
  });

  test('a datagram to a refused address is an error on a socket that lives on', async () => {
    const transport = Transport.TRANSPORT_UDP;
    const socket = await client.connect({ transport, family: 2 });
    await socket.send(Buffer.from('x'), internet('169.254.169.254', 80));
    await client.until(() => socket.errors.length > 0);
    expect(socket.errors[0]).toMatchObject({ code: 'NOT_PERMITTED', errno: ERRNO.EACCES });
    await socket.send(Buffer.from('y'), internet(BEYOND, 7001));
    expect((await socket.bytes(1)).toString()).toBe('y');
    socket.abort();
  });

  test('more connections than the limit are refused with EMFILE, and a place that is free again is given', async () => {
    const held = await Promise.all(Array.from({ length: 8 }, () => client.connect({ to: internet(BEYOND, 7001) })));
    const error = await failure({ to: internet(BEYOND, 7001) });
    expect([error.code, error.localErrno]).toEqual(['LIMIT_REACHED', ERRNO.EMFILE]);
    for (const connection of held) connection.abort();
    const next = await client.connect({ to: internet(BEYOND, 7001) });
    next.abort();
  });

  test.each([
    [Transport.TRANSPORT_UNSPECIFIED, ERRNO.EPROTONOSUPPORT],
    [99 as Transport, ERRNO.EPROTONOSUPPORT],
  ])('transport %i is not supported', async (transport, errno) => {
    expect((await failure({ transport, to: internet(BEYOND, 7001) })).errno).toBe(errno);
  });

  test('a target that is another process now is gone', async () => {
    const { pid, startTimeTicks } = network.identity;
    const other = new OutgoingClient(agent.outgoing, { pid, startTimeTicks: startTimeTicks + 1n });
    const error = await other.connect({ to: internet(BEYOND, 7001) }).catch((thrown: AppError) => thrown);
    expect(error).toMatchObject({ code: 'TARGET_GONE' });
    await other.session.close();
  });
});
