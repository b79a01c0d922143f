import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { serviceLookup, serviceProtocol, serviceUp } from '#proto/subjects.ts';
import { Bus } from '#runtime/bus.ts';
import { announceService, lookupService, watchService } from '#runtime/discovery.ts';
import { type NatsChild, startNats } from '../../services/agent/nats-child.ts';

const logger = pino({ level: 'silent' });
const NODE = 'node-1.example';
let directory: string;
let nats: NatsChild;
let buses: Bus[];

beforeEach(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'bus-'));
  nats = await startNats(directory, logger);
  buses = [];
});
afterEach(async () => {
  for (const bus of buses) await bus.close();
  await nats.close();
  rmSync(directory, { recursive: true });
});

async function connect(url = nats.url): Promise<Bus> {
  const bus = await Bus.connect({ url, name: 'test', deadlineMs: 5_000, logger });
  buses.push(bus);
  return bus;
}

const announce = (bus: Bus, address = 'unix:/run/fs-env.sock') =>
  announceService(bus, { service: 'fs-env', node: NODE, address, version: '1.2.3' });

describe('the bus', () => {
  test('asks and answers', async () => {
    const [server, client] = [await connect(), await connect()];
    server.respond('mirrord.v1.a', (payload) => Buffer.concat([payload, Buffer.from('!')]));
    await server.flush();
    expect(String(Buffer.from(await client.request('mirrord.v1.a', Buffer.from('hi'), 1_000)))).toBe('hi!');
  });

  test('says at once that nobody answers, and in time that an answer does not come', async () => {
    const [server, client] = [await connect(), await connect()];
    await expect(client.request('mirrord.v1.nobody', new Uint8Array(0), 5_000)).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
    });
    server.subscribe('mirrord.v1.mute', () => undefined);
    await server.flush();
    await expect(client.request('mirrord.v1.mute', new Uint8Array(0), 50)).rejects.toMatchObject({
      code: 'DEADLINE_EXCEEDED',
    });
  });

  test('lets a service announce itself alone, and hear what is meant for it', async () => {
    const [theirs, agent] = [await connect(nats.urlOf('sniffer')), await connect()];
    const heard: string[] = [];
    for (const subject of [serviceUp(NODE, 'fs-env'), serviceUp(NODE, 'sniffer')]) {
      agent.subscribe(subject, () => heard.push(subject));
    }
    await agent.flush();
    theirs.subscribe('>', () => heard.push('everything'));
    theirs.respond(serviceLookup(NODE, 'fs-env'), () => Buffer.from('not me'));
    for (const service of ['fs-env', 'sniffer'] as const) theirs.publish(serviceUp(NODE, service), new Uint8Array(0));
    await theirs.flush();
    await expect(agent.request(serviceLookup(NODE, 'fs-env'), new Uint8Array(0), 1_000)).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
    });
    await expect.poll(() => heard).toEqual([serviceUp(NODE, 'sniffer')]);
  });

  test('carries no payloads', async () => {
    const bus = await connect();
    expect(() => bus.publish('a', Buffer.alloc(65 * 1024))).toThrow('the bus carries no payloads');
  });

  test('refuses who does not have the password, at once and without repeating it', async () => {
    const url = nats.url.replace(/:\w+@/, ':wrong@');
    const refused = Bus.connect({ url, name: 'test', deadlineMs: 60_000, logger });
    await expect(refused).rejects.toThrow(expect.objectContaining({ code: 'NOT_PERMITTED' }));
    await expect(refused).rejects.not.toThrow('wrong');
  });

  test('gives up a server that is not there at its deadline', async () => {
    const absent = Bus.connect({ url: 'nats://127.0.0.1:9', name: 'test', deadlineMs: 150, logger });
    await expect(absent).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  });
});

describe('a service', () => {
  test('that announced itself is found, by lookup and by nats tools, and not after its goodbye', async () => {
    const [server, client] = [await connect(nats.urlOf('fs-env')), await connect()];
    const announced = await announce(server);
    const found = await lookupService(client, NODE, 'fs-env', 1_000);
    expect(found).toMatchObject({ address: 'unix:/run/fs-env.sock', version: '1.2.3', pid: process.pid });
    const [subject = ''] = serviceProtocol('PING', 'mirrord-fs-env', found.instance);
    const ping = JSON.parse(String(Buffer.from(await client.request(subject, new Uint8Array(0), 1_000))));
    expect(ping).toMatchObject({ type: 'io.nats.micro.v1.ping_response', name: 'mirrord-fs-env', version: '1.2.3' });
    announced.close();
    await server.flush();
    await expect(lookupService(client, NODE, 'fs-env', 1_000)).rejects.toMatchObject({ code: 'SERVICE_UNAVAILABLE' });
  });

  test('of another node is not found', async () => {
    await announce(await connect(nats.urlOf('fs-env')));
    await expect(lookupService(await connect(), 'node-2', 'fs-env', 1_000)).rejects.toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
      message: expect.stringContaining('fs-env of node node-2 is not there'),
    });
  });

  test('tells who listens of its coming and going, and again after nats was lost', async () => {
    const [server, client] = [await connect(nats.urlOf('fs-env')), await connect()];
    const heard: string[] = [];
    watchService(client, NODE, 'fs-env', { onUp: () => heard.push('up'), onDown: () => heard.push('down') });
    await client.flush();
    const announced = await announce(server);
    await expect.poll(() => heard).toEqual(['up']);
    process.kill(nats.pid as number, 'SIGKILL');
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBeGreaterThan(1);
    expect(heard).not.toContain('down');
    announced.close();
    await expect.poll(() => heard.at(-1), { timeout: 10_000 }).toBe('down');
  });
});
