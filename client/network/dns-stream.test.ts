import { once } from 'node:events';
import net from 'node:net';
import { expect, test } from 'vitest';
import { formatIp, internet } from '#proto/socket-address.ts';
import { buildAnswer, buildQuery, DNS_TYPE, type DnsQuery, readAnswer, readQuery } from './dns-message.ts';
import { Messages, prefixed } from './dns-stream.ts';
import { LocalResolver } from './local-resolver.ts';

test('messages of a stream come out whole, however it is cut', () => {
  const messages = ['one', '', 'three'].map((text) => prefixed(Buffer.from(text)));
  const stream = Buffer.concat(messages);
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const reader = new Messages();
    expect([...reader.push(stream.subarray(0, cut)), ...reader.push(stream.subarray(cut))]).toEqual(messages);
  }
});

test('a name that stays here and was asked for over TCP is asked on over TCP', async () => {
  const query = buildQuery(5, 'here.example', DNS_TYPE.A) as Buffer;
  const parsed = readQuery(query) as DnsQuery;
  const server = net.createServer((socket) => {
    const reader = new Messages();
    socket.on('data', (data) => {
      for (const asked of reader.push(data)) {
        const answer = buildAnswer(asked.subarray(2), parsed, [Buffer.of(10, 0, 0, 7)], 9);
        // In two pieces, as a network may have it.
        socket.write(prefixed(answer).subarray(0, 20));
        socket.end(prefixed(answer).subarray(20));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as net.AddressInfo;
    const resolver = new LocalResolver({ servers: [internet(Buffer.of(127, 0, 0, 1), port)], hostsFile: '/dev/null' });
    const answer = await resolver.ask(query, parsed, 'tcp');
    expect(readAnswer(answer as Buffer)?.addresses.map(formatIp)).toEqual(['10.0.0.7']);
  } finally {
    server.close();
  }
});
