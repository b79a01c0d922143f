// experimental: switches of how mirrord's preloaded library works. The layer here works at system calls and has none of
// the machinery that they switch.

import { ignored, key, noEffect, section, works } from './dsl.ts';
import { bool, integer, nonEmptyText, optional, text } from './values.ts';

const NO_PRELOAD = noEffect('it switches machinery of a preloaded library, and the layer here works at system calls');
const MACOS = ignored('of macOS only');

export const experimental = section(
  'Switches of mechanisms.',
  {
    tcp_ping4_mock: key(bool, false, 'Connections to port 7 succeed without connecting.', { status: works }),
    enable_exec_hooks_linux: key(bool, true, 'Programs started by the local process keep its sockets; always so here.'),
    hide_ipv6_interfaces: key(bool, false, 'Hide IPv6 addresses of interfaces.', {
      status: noEffect(
        'programs see the interfaces of this machine; feature.network.ipv6: false keeps them from making IPv6 sockets',
      ),
      accepts: [false],
    }),
    use_dev_null: key(bool, true, 'Use /dev/null for descriptors of remote files.'),
    idle_local_http_connection_timeout: key(
      integer(0, 3_600_000),
      3000,
      'Milliseconds after which a connection to the local process that has no request is closed, where requests are stolen with a filter: before the local process does it, just when the next request comes. 0: it stays as long as the connection it stands for.',
      { status: works },
    ),
    browser_extension_config: key(bool, false, 'Open the browser with the header filter.', {
      status: noEffect('there is no browser extension'),
      accepts: [false],
    }),
    non_blocking_tcp_connect: key(bool, true, 'Deprecated. Connecting does not block; always so here.'),
    dlopen_cgo: key(bool, false, 'Handle Go libraries loaded at run time; always so here.'),
    latency: section(
      'Deprecated. Streams of the outgoing network say everything so much later; dialling does not take longer.',
      {
        transmit_delay: key(integer(0, 60_000), 0, 'Milliseconds, of what the local process sends.'),
        receive_delay: key(integer(0, 60_000), 0, 'Milliseconds, of what it gets.'),
      },
      { status: works },
    ),
    go_asmcgocall: key(bool, true, 'How stacks of Go programs are switched.'),
    guard_std_fds: key(bool, true, 'Open closed standard descriptors at the start.'),
    trust_any_certificate: key(bool, false, '', { status: MACOS }),
    disable_reuseaddr: key(bool, true, '', { status: MACOS }),
    ignore_system_proxy_config: key(bool, false, '', { status: MACOS }),
    applev: key(optional(text), null, '', { status: MACOS }),
    sip_utils: key(bool, true, '', { status: MACOS }),
    sip_log_destination: key(optional(nonEmptyText), null, '', { status: MACOS }),
  },
  { status: NO_PRELOAD },
);
