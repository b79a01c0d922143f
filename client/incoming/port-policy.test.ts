// What keys of feature.network.incoming and agent become in a subscription.

import { expect, test } from 'vitest';
import { loadText } from '../testing/load-text.ts';
import { PortPolicy } from './port-policy.ts';

async function policyOf(document: object): Promise<PortPolicy> {
  const { config } = await loadText(JSON.stringify(document));
  return new PortPolicy(config.feature.network.incoming, config.agent, config.experimental);
}

const stealing = (http_filter: object, others: object = {}) =>
  policyOf({ ...others, feature: { network: { incoming: { mode: 'steal', http_filter } } } });

test('all_of and any_of become conditions in their order, and say whether one of them is enough', async () => {
  const parts = [{ header: '^x-user: me$' }, { path: '^/api' }, { method: 'GET' }, { query: '.a == 1' }];
  const all = (await stealing({ all_of: parts })).filterFor(80);
  expect(all?.isAny).toBe(false);
  expect(all?.conditions.map(({ condition }) => condition)).toEqual([
    { $case: 'header', value: '(?i)^x-user: me$' },
    { $case: 'path', value: '(?i)^/api' },
    { $case: 'method', value: 'GET' },
    { $case: 'queryJq', value: '.a == 1' },
  ]);
  expect((await stealing({ any_of: parts })).filterFor(80)?.isAny).toBe(true);
});

test('limits of bodies go with the filter that looks at them', async () => {
  const body_filter = { body: 'json', query: '$.user', matches: 'me' };
  const agent = { max_body_buffer_size: 1_234, max_body_buffer_timeout: 77 };
  const limited = (await stealing({ body_filter }, { agent })).filterFor(80)?.conditions[0]?.condition;
  expect(limited).toEqual({
    $case: 'jsonBody',
    value: { query: '$.user', matches: 'me', maxBytes: 1_234, waitMs: 77 },
  });
  const usual = (await stealing({ body_filter })).filterFor(80)?.conditions[0]?.condition;
  expect(usual).toMatchObject({ value: { maxBytes: 65_535, waitMs: 1_000 } });
});

test('a filter with ports is for those alone', async () => {
  const policy = await stealing({ method_filter: 'PUT', ports: [81, 82] });
  expect([80, 81, 82].map((port) => policy.filterFor(port)?.conditions.length)).toEqual([undefined, 1, 1]);
});

test('how HTTP is dealt with is told with a steal, in milliseconds, and with nothing else', async () => {
  const agent = { http_detection_timeout: 3, inject_headers: true, override_cache_control: true };
  const experimental = { idle_local_http_connection_timeout: 0 };
  const chosen = await stealing({}, { agent, experimental });
  expect(chosen.httpHandling).toEqual({ firstHeadMs: 3_000, idleMs: 0, namesOrigin: true, forbidsCaching: true });
  expect((await stealing({})).httpHandling).toEqual({
    firstHeadMs: 10_000,
    idleMs: 3_000,
    namesOrigin: false,
    forbidsCaching: false,
  });
  expect((await policyOf({ agent })).httpHandling).toBeUndefined();
});
