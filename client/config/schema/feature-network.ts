// feature.network: traffic to and from the local process. Described and checked; what is not built is refused.

import { key, section, textFor, toggle, works } from './dsl.ts';
import { addressFilter, httpFilter } from './http-filter.ts';
import { patternList } from './patterns.ts';
import { tlsDelivery, tlsIdentities } from './tls.ts';
import { bool, oneOf, optional, portList, portPairs } from './values.ts';

const modes = oneOf('mirror', 'steal', 'off');
const incoming = section(
  "Traffic that comes to the target's ports.",
  {
    mode: key(modes, 'mirror', 'mirror: a copy of what arrives; steal: instead of the target; off: nothing.', {
      env: [
        {
          name: 'MIRRORD_AGENT_TCP_STEAL_TRAFFIC',
          read: (text) => (text === 'true' ? 'steal' : text === 'false' ? 'off' : text),
        },
      ],
      flag: '--steal',
    }),
    http_filter: httpFilter,
    port_mapping: key(portPairs, [], 'Pairs of local and target port that stand for each other.'),
    listen_ports: key(portPairs, [], 'Pairs of the port the local process asks for and the one it gets.'),
    ignore_ports: key(portList, [], 'Ports that stay local. Not together with ports.'),
    ports: key(optional(portList), null, 'The only ports that are not local.'),
    ignore_localhost: key(bool, false, 'Sockets bound to localhost stay local.'),
    renew_connections: key(
      bool,
      false,
      'Connections that began before the session are closed in the target, ten a second, so that their peers come again.',
      { env: ['MIRRORD_RENEW_CONNECTIONS'], flag: '--renew-connections' },
    ),
    on_concurrent_steal: key(oneOf('abort', 'continue', 'override'), 'abort', 'When somebody else steals the port.', {
      env: ['MIRRORD_OPERATOR_ON_CONCURRENT_STEAL'],
    }),
    tls: key(
      tlsIdentities,
      [],
      'Who the stealer is in TLS, so that filters apply: `certificate` and `key` (PEM files of the target, or with ' +
        '`"from": "local"` of this machine), for `ports` and `server_names`; docs/steal.md has all of it.',
    ),
    tls_delivery: key(
      tlsDelivery,
      null,
      'How TLS that the stealer has read reaches the local process: `protocol` (`tls`, `tcp` for plaintext), `server_name`, ' +
        'and `trust_roots` or `server_cert`, else any certificate will do.',
    ),
    https_delivery: key(tlsDelivery, null, 'Deprecated name of tls_delivery.'),
  },
  { status: works, shorts: [toggle({ mode: 'mirror' }, { mode: 'off' }), textFor('mode', modes.json)] },
);

const outgoing = section(
  'Connections that the local process makes.',
  {
    tcp: key(bool, true, 'TCP from the target.', {
      env: ['MIRRORD_TCP_OUTGOING'],
      flag: '--no-tcp-outgoing',
    }),
    udp: key(bool, true, 'UDP from the target.', {
      env: ['MIRRORD_UDP_OUTGOING'],
      flag: '--no-udp-outgoing',
    }),
    ignore_localhost: key(bool, false, 'Connections to localhost stay local.'),
    filter: key(
      optional(addressFilter('outgoing')),
      null,
      '`{"remote": […]}` or `{"local": […]}`: what goes there, the rest the other way.',
    ),
    unix_streams: key(patternList, [], 'Unix sockets that are connected in the target.', {
      env: ['MIRRORD_OUTGOING_REMOTE_UNIX_STREAMS'],
    }),
  },
  { shorts: [toggle({ tcp: true, udp: true }, { tcp: false, udp: false })] },
);

const dns = section(
  'Names.',
  {
    enabled: key(bool, true, 'Names are looked up in the target.', {
      env: ['MIRRORD_REMOTE_DNS'],
      flag: '--no-remote-dns',
    }),
    filter: key(
      optional(addressFilter('dns')),
      null,
      '`{"remote": […]}` or `{"local": […]}`: which names are looked up where.',
    ),
  },
  { shorts: [toggle({ enabled: true }, { enabled: false })] },
);

export const featureNetwork = section(
  'The network.',
  {
    incoming,
    outgoing,
    dns,
    ipv6: key(bool, true, 'false: the local process cannot make IPv6 sockets.', {
      env: ['MIRRORD_ENABLE_IPV6'],
    }),
  },
  { shorts: [toggle({ incoming: true, outgoing: true, dns: true }, { incoming: false, outgoing: false, dns: false })] },
);
