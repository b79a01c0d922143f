import { describe, expect, test } from 'vitest';
import { faultsOf, loadText } from '../testing/load-text.ts';

const incoming = (keys: string) => `{"feature": {"network": {"incoming": {${keys}}}}}`;

test.each([
  ['.json', '{\n "feature": {\n  "fs": {\n   "mod": "read"}}}', 4],
  ['.yaml', 'feature:\n  fs:\n\n    mod: read\n', 4],
  ['.toml', '# comment\n[feature.fs]\n\nmod = "read"\n', 4],
  ['.toml', '[feature]\nfs = {mode = "read", mod = "x"}\n', 2],
  ['.toml', 'feature.fs.mode = "read"\nfeature."fs".mod = "x"\n', 2],
])('an unknown key in %s is told by path, line and nearest key', async (ending, text, line) => {
  expect(await faultsOf(text, { ending })).toEqual([`feature.fs.mod (line ${line}): no such key; did you mean mode?`]);
});

test.each([
  ['{"$schema": "x"}', '$schema (line 1): no such key'],
  ['{"mode": "read"}', 'mode (line 1): no such key; did you mean feature.fs.mode or feature.network.incoming.mode?'],
  ['{"target": {"podd": "x"}}', 'target.podd (line 1): no such key; did you mean pod?'],
  ['{"__proto__": {"a": 1}}', '__proto__ (line 1): no such key'],
  ['{"constructor": 1}', 'constructor (line 1): no such key'],
])('%s is refused', async (text, fault) => {
  expect((await faultsOf(text))[0]).toContain(fault);
});

test.each([
  [
    '{"feature": {"fs": {"mode": "raed"}}}',
    'found the text "raed", wants one of local, localwithoverrides, read, write; did you mean read?',
  ],
  ['{"feature": {"fs": {"mode": 1}}}', 'found the number 1, wants one of'],
  ['{"feature": {"fs": {"local": ["a", 1]}}}', 'found the list ["a",1], wants a text (item 2)'],
  ['{"feature": {"fs": {"local": "("}}}', 'holds the pattern "(", which has a group without a closing parenthesis'],
  [
    '{"feature": {"fs": {"mapping": {"[": "x"}}}}',
    'holds the pattern "[", which has a class without a closing bracket',
  ],
  ['{"feature": {"fs": {"readonly_file_buffer": 15728641}}}', 'wants a whole number from 0 to 15728640'],
  ['{"feature": {"fs": {"readonly_file_buffer": "1"}}}', 'found the text "1", wants a whole number'],
  ['{"feature": {"fs": []}}', 'feature.fs (line 1): found a list, wants a map, `true` or `false`'],
  ['{"feature": 1}', 'feature (line 1): found the number 1, wants a map'],
  ['[]', 'the configuration: found a list, wants a map'],
  ['{"target": {"path": 1}}', 'target.path (line 1): found the number 1, wants a text'],
  ['{"target": "shop"}', 'target.path (line 1): "shop" is not a target: a prefix is missing'],
  ['{"skip_build_tools": "yes"}', 'found the text "yes", wants true or false'],
])('%s: a wrong value is told by type and value, with what is wanted', async (text, fault) => {
  expect((await faultsOf(text))[0]).toContain(fault);
});

test('all faults are told at once', async () => {
  const text = '{"feature": {"fs": {"mode": "x", "locl": 1}, "env": {"unset": 1}}, "agent": {"ttl": -1}}';
  expect(await faultsOf(text)).toHaveLength(4);
});

test('a fault in a variable or flag names the variable or flag', async () => {
  const env = { MIRRORD_ENV_LOAD_FROM_PROCESS: 'yes' };
  const flags = { MIRRORD_FILE_MODE: 'raed' };
  const faults = await faultsOf('{}', { env, flags });
  expect(faults).toContainEqual(expect.stringContaining('feature.fs.mode (flag --fs-mode): found the text "raed"'));
  expect(faults).toContainEqual(
    'feature.env.load_from_process (variable MIRRORD_ENV_LOAD_FROM_PROCESS): found the text "yes", wants true or false',
  );
});

test.each([
  ['.toml', 'a = "hunter2\n'],
  ['.yaml', 'a: "hunter2\n'],
  ['.json', '{"a": "hunter2'],
])('a fault in the grammar of %s shows nothing of the content, in its causes neither', async (ending, text) => {
  let thrown: unknown;
  try {
    await loadText(text, { ending });
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(Error);
  for (; thrown instanceof Error; thrown = thrown.cause) expect(thrown.stack).not.toContain('hunter2');
});

test('values of variables are never shown', async () => {
  const text = '{"feature": {"env": {"override": {"A": ["hunter2"]}, "mapping": "hunter2"}}}';
  const faults = await faultsOf(text);
  expect(faults).toHaveLength(2);
  faults.push(...(await faultsOf('{"feature": {"env": ["A=hunter2"]}}')));
  expect(faults.join()).not.toContain('hunter2');
});

test.each([
  ['.json', '{"a": 1,}', 'line 1: a key in double quotes is missing, found "}"'],
  ['.json', '{\n"a": 1\n"b": 2}', 'line 3: a comma or } is missing'],
  ['.json', '{"a": 01}', 'line 1: a comma or } is missing, found "1"'],
  ['.json', '{"a": 1, "a": 2}', 'line 1: the key "a" is there twice'],
  ['.json', '{} x', 'line 1: nothing may follow the configuration'],
  ['.json', '// x\n{}', 'line 1: a value is missing'],
  ['.json', '', 'line 1: a value is missing, found the end'],
  ['.json', '{"a": "\u0001"}', 'line 1: a value is missing'],
  ['.json', '['.repeat(100_000), 'nested deeper than 64'],
  ['.toml', 'a = 1\nb =\n', 'line 2: '],
  ['.toml', 'a = 1\na = 2\n', 'line 2: '],
  ['.yaml', 'a: [1\n', 'line '],
  ['.yaml', 'a: 1\na: 2\n', 'line 2: '],
  ['.yaml', '? [a]\n: 1\n', 'line 1: a key must be a text'],
  [
    '.yaml',
    `a: &a [x,x,x,x,x,x,x,x,x]\n${[...'bcdefgh'].map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[index]}`)}]`).join('\n')}\n`,
    'alias',
  ],
  ['.ini', 'a=1', 'the ending .ini is not known; use .json, .toml, .yaml or .yml'],
  ['.json', ' '.repeat(2 << 20), 'it is longer than'],
])('%s: a file that cannot be read as such is told by its line (%#)', async (ending, text, fault) => {
  expect((await faultsOf(text, { ending })).join('\n')).toContain(fault);
});

test.each([
  ['{"agent": {"metrics": "9000"}}', 'agent.metrics (line 1): found the text "9000", wants an address and a port'],
  ['{"agent": {"metrics": "::1:9000"}}', 'wants an address and a port, such as 0.0.0.0:9000 or [::]:9000'],
  ['{"feature": {"copy_target": true}}', 'requires the operator, which this product does not have'],
  ['{"feature": {"db_branches": []}}', 'requires the operator'],
  ['{"feature": {"split_queues": {}}}', 'requires the operator'],
  ['{"feature": {"preview": {"image": "x"}}}', 'requires the operator'],
  ['{"operator": true}', 'requires the operator'],
  [
    '{"target": "targetless", "feature": {"network": {"incoming": "steal"}}}',
    'feature.network.incoming.mode (line 1): nothing can be stolen without a target',
  ],
  ['{"target": "targetless", "agent": {"ephemeral": true}}', 'an ephemeral agent is in the pod of its target'],
])('%s is refused, not ignored', async (text, fault) => {
  expect((await faultsOf(text)).join('\n')).toContain(fault);
});

test.each([
  '{"feature": {"network": false}}',
  '{"feature": {"network": {}}}',
  '{"feature": {"network": {"incoming": "off", "outgoing": false, "dns": {"enabled": false}, "ipv6": true}}}',
  '{"feature": {"network": {"incoming": false, "outgoing": true, "dns": true}}}',
  '{"feature": {"network": true}}',
  '{"feature": {"network": {"incoming": {"mode": "mirror", "ports": [80], "http_filter": {"path_filter": "^/a"}}}}}',
  '{"feature": {"copy_target": false, "hostname": false, "split_queues": null, "db_branches": false}}',
  '{"agent": {"ttl": 1, "startup_timeout": 60, "privileged": false}, "startup_retry": {"min_ms": 500}}',
  '{"operator": false, "telemetry": false, "use_proxy": true, "accept_invalid_certificates": false, "target": null}',
  '{"api": false, "experimental": {"hide_ipv6_interfaces": false, "browser_extension_config": false}}',
  '{"sip_binaries": "x", "skip_sip": ["y"], "experimental": {"sip_utils": false, "applev": "x"}}',
])('%s asks for nothing and is accepted without a word', async (text) => {
  expect((await loadText(text)).warnings).toEqual([]);
});

test.each([
  ['{"skip_processes": "bash"}', 'skip_processes (line 1) has no effect: the layer watches the whole tree'],
  ['{"skip_build_tools": true}', 'skip_build_tools (line 1) has no effect'],
  ['{"telemetry": true}', 'telemetry (line 1) has no effect: nothing is ever sent'],
  [
    '{"api": true}',
    'api (line 1) has no effect: there is no such socket: mirrord session list and session stop do without it',
  ],
  [
    '{"container": {"cli_image": "x"}}',
    'container.cli_image (line 1) has no effect: it is for the command mirrord container',
  ],
  ['{"external_proxy": {"idle_timeout": 5}}', 'external_proxy.idle_timeout (line 1) has no effect'],
  [
    '{"experimental": {"hide_ipv6_interfaces": true}}',
    'has no effect: programs see the interfaces of this machine; feature.network.ipv6: false keeps them',
  ],
  ['{"experimental": {"browser_extension_config": true}}', 'has no effect: there is no browser extension'],
  ['{"internal_proxy": {"idle_timeout": 9}}', 'internal_proxy.idle_timeout (line 1) has no effect'],
  ['{"experimental": {"use_dev_null": false}}', 'experimental.use_dev_null (line 1) has no effect'],
  ['{"feature": {"fs": {"readonly_file_buffer": 2000000}}}', '2000000 bytes are fetched'],
  [
    '{"feature": {"fs": {"mode": "local", "read_only": "^/a"}}}',
    'feature.fs.read_only (line 1) has no effect: feature.fs.mode is local',
  ],
])('%s is accepted with a warning that explains', async (text, warning) => {
  expect((await loadText(text)).warnings.join('\n')).toContain(warning);
});

test.each([
  [
    '{"feature": {"env": {"include": "A", "exclude": "B"}}}',
    'feature.env.include (line 1) and feature.env.exclude (line 1) exclude each other',
  ],
  [
    '{"startup_retry": {"min_ms": 9, "max_ms": 8}}',
    'startup_retry.max_ms (line 1): 8 must be above 0 and not below min_ms',
  ],
  ['{"feature": {"network": {"incoming": {"ports": [1], "ignore_ports": [2]}}}}', 'exclude each other'],
  [incoming('"tls": {"certificate": "/a", "key": "/b"}'), 'wants a list of maps'],
  [incoming('"tls": [{"certificate": "/a"}]'), 'wants certificate and key (item 1)'],
  [incoming('"tls": [{"certificate": "/a", "key": "/b", "sni": "x"}]'), 'holds sni, which is none of ports, from'],
  [incoming('"tls": [{"certificate": "/a", "key": "/b", "from": "pod"}]'), 'from: wants one of target, local'],
  [
    incoming('"tls": [{"certificate": "/a", "key": "/b", "target_key": "/c"}]'),
    'has only one of target_certificate and target_key',
  ],
  [
    incoming('"tls": [{"certificate": "/a", "key": "/b", "target_certificate": "/c", "target_key": "/d"}]'),
    'without client_roots: anybody would reach the target with it',
  ],
  [incoming('"tls_delivery": {"protocol": "udp"}'), 'protocol: wants one of tls, tcp'],
  [
    incoming('"tls_delivery": {"trust_roots": "/a", "server_cert": "/b"}'),
    'has trust_roots and server_cert, which exclude each other',
  ],
  [incoming('"tls": {"certificate": "/a", "key": "/b"}'), 'wants a list of maps'],
  [incoming('"tls": [{"certificate": "/a"}]'), 'wants certificate and key (item 1)'],
  [incoming('"tls": [{"certificate": "/a", "key": "/b", "sni": "x"}]'), 'holds sni, which is none of ports, from'],
  [incoming('"tls": [{"certificate": "/a", "key": "/b", "from": "pod"}]'), 'from: wants one of target, local'],
  [
    incoming('"tls": [{"certificate": "/a", "key": "/b", "target_key": "/c"}]'),
    'has only one of target_certificate and target_key',
  ],
  [
    incoming('"tls": [{"certificate": "/a", "key": "/b", "target_certificate": "/c", "target_key": "/d"}]'),
    'without client_roots: anybody would reach the target with it',
  ],
  [incoming('"tls_delivery": {"protocol": "udp"}'), 'protocol: wants one of tls, tcp'],
  [
    incoming('"tls_delivery": {"trust_roots": "/a", "server_cert": "/b"}'),
    'has trust_roots and server_cert, which exclude each other',
  ],
  ['{"feature": {"network": {"incoming": {"tls_delivery": {}, "https_delivery": {}}}}}', 'old name of tls_delivery'],
  [
    '{"feature": {"network": {"incoming": {"http_filter": {"header_filter": "a", "path_filter": "b"}}}}}',
    'header_filter, path_filter exclude each other',
  ],
  ['{"feature": {"network": {"incoming": {"http_filter": {"all_of": []}}}}}', 'a list of filters that is not empty'],
  ['{"feature": {"network": {"incoming": {"port_mapping": [[1, 2], [1, 3]]}}}}', 'names port 1 or 3 twice'],
  ['{"feature": {"network": {"outgoing": {"filter": {"remote": ["tcp://a b"]}}}}}', 'holds "tcp://a b", which is no'],
  [
    '{"feature": {"network": {"outgoing": {"filter": {"remote": [], "local": []}}}}}',
    'wants {"remote": [...]} or {"local": [...]}',
  ],
])('%s is a conflict', async (text, fault) => {
  expect((await faultsOf(text)).join('\n')).toContain(fault);
});

describe('a filter of requests that cannot be is told before anything is started', () => {
  const incoming = (filter: object) => JSON.stringify({ feature: { network: { incoming: { http_filter: filter } } } });
  const at = 'feature.network.incoming.http_filter.';

  test.each([
    [{ header_filter: 'x-user: (?=alice)' }, 'header_filter (line 1): look-around is not offered'],
    [{ header_filter: '(a)\\1' }, 'header_filter (line 1): a backreference is not offered'],
    [{ path_filter: '^/a(' }, 'path_filter (line 1): a group has no end (character 4)'],
    [{ path_filter: 'a'.repeat(4_093) }, 'path_filter (line 1) is longer than 4092 characters'],
    [{ method_filter: 'a b' }, 'method_filter (line 1): "a b" is no name of a method'],
    [{ header_filter_jq: 'def f: 1; f' }, 'header_filter_jq (line 1): def is not offered (character 1)'],
    [{ header_filter_jq: 'test("(?!a)")' }, 'header_filter_jq (line 1): in the pattern "(?!a)": look-around'],
    [{ body_filter: { body: 'json', query: 'user', matches: 'a' } }, 'body_filter (line 1), query: a JSONPath begins'],
    [
      { body_filter: { body: 'json', query: '$.a', matches: '[' } },
      'body_filter (line 1), matches: a class has no end',
    ],
    [{ body_filter: { body: 'json', query: '$.a' } }, 'wants a map such as {"body": "json"'],
    [{ all_of: [{ path: 'a' }, { header: '*' }] }, 'all_of (line 1), item 2, header: nothing stands before'],
    [{ any_of: [{ query: '.a ==' }] }, 'any_of (line 1), item 1, query: it ends too early'],
    [{ any_of: [{ body: 'json', query: '$[', matches: 'a' }] }, 'any_of (line 1), item 1, query: '],
    [{ any_of: [{ header: 'a', path: 'b' }] }, 'wants filters that each are one of'],
    [{ any_of: [{ header: 1 }] }, '(item 1)'],
  ])('%j', async (filter, fault) => {
    const faults = await faultsOf(incoming(filter));
    expect(faults).toHaveLength(1);
    expect(faults[0]).toContain(fault);
    expect(faults[0]).toContain(at);
  });

  test('of a variable, by its name, with the part marked and what to write instead', async () => {
    const env = { MIRRORD_HTTP_HEADER_FILTER: 'x-user: (?=alice)' };
    const [fault = ''] = await faultsOf('{}', { env });
    expect(fault.split('\n')).toEqual([
      expect.stringMatching(/^feature\S+header_filter \(variable MIRRORD_HTTP_HEADER_FILTER\): .*\(character 9\)$/),
      '    x-user: (?=alice)',
      '            ^^^',
      expect.stringMatching(/^ {2}instead: /),
    ]);
  });

  test('what RE2 takes and patterns of files do not is accepted, and the other way round refused', async () => {
    await expect(loadText(incoming({ path_filter: '\\pN(?i)x|\\Qa.b\\E' }))).resolves.toBeDefined();
  });
});
