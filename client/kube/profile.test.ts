import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Config } from '../config/schema/root.ts';
import { ApiServer } from '../testing/api-server.ts';
import { loadText } from '../testing/load-text.ts';
import { KubeApi } from './api.ts';
import { applyProfile } from './profile.ts';

let server: ApiServer;
let api: KubeApi;
let config: Config;
beforeEach(async () => {
  server = await ApiServer.start();
  api = new KubeApi(await server.access({ context: { namespace: 'shop' } }));
  config = (await loadText('{"feature": {"network": {"incoming": {"mode": "steal", "ignore_ports": [1]}}}}')).config;
});
afterEach(async () => {
  await api.close();
  await server.close();
});

const API = '/apis/profiles.mirrord.metalbear.co/v1alpha';
const apply = (profile: string) => applyProfile({ api, profile, config });

async function networkOf(...changes: unknown[]): Promise<Config['feature']['network']> {
  const featureAdjustments = changes.map((change) => ({ change }));
  server.answers.set(`GET ${API}/mirrordclusterprofiles/safe`, {
    kind: 'MirrordClusterProfile',
    spec: { featureAdjustments },
  });
  return (await apply('safe')).feature.network;
}

test('a profile of the cluster changes what it names, and nothing else', async () => {
  const network = await networkOf('IncomingMirror', 'DnsOff', 'OutgoingOff');
  const { incoming, dns, outgoing } = config.feature.network;
  expect(network.incoming).toEqual({ ...incoming, mode: 'mirror' });
  expect(network.dns).toEqual({ ...dns, enabled: false });
  expect(network.outgoing).toEqual({ ...outgoing, tcp: false, udp: false });
  expect(await networkOf()).toEqual(config.feature.network);
  const modes = [await networkOf('IncomingOff'), await networkOf('IncomingSteal')].map((one) => one.incoming.mode);
  expect(modes).toEqual(['off', 'steal']);
  const on = await networkOf('DnsOff', 'OutgoingOff', 'DnsRemote', 'OutgoingRemote');
  expect([on.dns.enabled, on.outgoing.tcp, on.outgoing.udp]).toEqual([true, true, true]);
});

test('one of a namespace is asked for there, and must be of the target’s', async () => {
  const spec = { featureAdjustments: [{ change: 'IncomingOff' }] };
  server.answers.set(`GET ${API}/namespaces/shop/mirrordprofiles/mine`, { spec });
  expect((await apply('shop/mine')).feature.network.incoming.mode).toBe('off');
  await expect(apply('other/mine')).rejects.toThrow('is of namespace other, and the target is in shop');
  expect(server.seen).toHaveLength(1);
});

test.each([
  [{ featureAdjustments: [{ change: 'IncomingLoud' }] }, 'asks for "IncomingLoud", which is none of IncomingMirror,'],
  [{ featureAdjustments: [{ change: 'constructor' }] }, 'asks for "constructor"'],
  [{ featureAdjustments: [{ change: 'DnsOff', when: 'night' }] }, 'has a field "when" that this version does not know'],
  [{ featureAdjustments: [], more: 1 }, 'has a field "more" that this version does not know'],
  [{ featureAdjustments: 'all' }, 'has featureAdjustments that are no list'],
])('%j is refused', async (spec, message) => {
  server.answers.set(`GET ${API}/mirrordclusterprofiles/safe`, { spec });
  await expect(apply('safe')).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`profile: "safe" ${message.slice(0, 8)}`),
  });
  await expect(apply('safe')).rejects.toThrow(message);
});

test('a name that is not there, a cluster without profiles and one that forbids them are told apart', async () => {
  await expect(apply('absent')).rejects.toThrow('profile: "absent" is not in the cluster: there is none of this name');
  server.answers.set(`GET ${API}/mirrordclusterprofiles/safe`, (_, response) => {
    response.statusCode = 404;
    response.end('404 page not found\n');
  });
  await expect(apply('safe')).rejects.toThrow('the cluster knows no profiles (their definitions are not installed)');
  server.answers.set(`GET ${API}/mirrordclusterprofiles/safe`, 403);
  await expect(apply('safe')).rejects.toMatchObject({ code: 'NOT_PERMITTED' });
  await expect(apply('../../secrets')).rejects.toThrow('is no name of a profile');
});
