import { closeSync, openSync } from 'node:fs';
import net from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ERRNO } from '#proto/errno.ts';
import { WRITABLE, watchFd } from '#proto/sockets/addon.ts';
import {
  connectTcp,
  internetNames,
  lastSource,
  openUdp,
  receiveDatagram,
  sendDatagram,
  socketError,
} from './internet-socket.ts';

const LOOPBACK = Buffer.from([127, 0, 0, 1]);
let namespaceFd: number;

beforeAll(() => {
  namespaceFd = openSync('/proc/self/ns/net', 'r');
});

afterAll(() => closeSync(namespaceFd));

/** The descriptor, and the errno its dial ended with. */
function dial(ip: Buffer, port: number): Promise<[number, number]> {
  const fd = connectTcp(namespaceFd, { ip, port, scopeId: 0 });
  return new Promise((resolve) => {
    const poll = watchFd(fd, () => resolve([poll.detach(), socketError(fd)]));
    poll.start(WRITABLE);
  });
}

test('a dial ends connected and with names, or with the errno', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  const [fd, errno] = await dial(LOOPBACK, port);
  const { local, peer } = internetNames(fd);
  expect([errno, peer, local.ip]).toEqual([0, { ip: LOOPBACK, port, scopeId: 0 }, LOOPBACK]);
  closeSync(fd);
  await new Promise((resolve) => server.close(resolve));
  const [refused, why] = await dial(LOOPBACK, port);
  expect(why).toBe(ERRNO.ECONNREFUSED);
  closeSync(refused);
});

test('a datagram comes with its source, none is EAGAIN, a family that does not fit is refused', () => {
  const [one, other] = [openUdp(namespaceFd, 4, null, 65_536), openUdp(namespaceFd, 4, null, 65_536)];
  const to = { ip: LOOPBACK, port: internetNames(other).local.port, scopeId: 0 };
  expect(sendDatagram(one, 4, Buffer.from('hello'), to)).toBe(0);
  const buffer = Buffer.alloc(16);
  expect(receiveDatagram(other, buffer)).toBe(5);
  expect([buffer.toString('latin1', 0, 5), lastSource()]).toEqual([
    'hello',
    { ip: LOOPBACK, port: internetNames(one).local.port, scopeId: 0 },
  ]);
  expect(receiveDatagram(other, buffer)).toBe(-ERRNO.EAGAIN);
  expect(sendDatagram(one, 4, buffer, { ...to, ip: Buffer.alloc(16, 1) })).toBe(-ERRNO.EAFNOSUPPORT);
  for (const fd of [one, other]) closeSync(fd);
});

test('the interface of a link-local address is kept', () => {
  const fd = openUdp(namespaceFd, 6, { ip: Buffer.from(`${'00'.repeat(15)}01`, 'hex'), port: 9, scopeId: 0 }, 65_536);
  expect(internetNames(fd).peer).toMatchObject({ port: 9, scopeId: 0 });
  closeSync(fd);
  expect(() =>
    openUdp(
      namespaceFd,
      6,
      { ip: Buffer.from(`fe80${'00'.repeat(13)}01`, 'hex'), port: 9, scopeId: 0x7fff_0001 },
      65_536,
    ),
  ).toThrow(expect.objectContaining({ code: 'CONNECTION_FAILED' }));
});
