// internal_proxy, external_proxy and container: settings of processes that mirrord's users know and that do not exist
// here, where one client process does the work.

import { key, noEffect, section } from './dsl.ts';
import { bool, integer, nonEmptyText, optional, text, textList, u64 } from './values.ts';

const ONE_PROCESS = noEffect('there is no proxy process here: the client serves the local process until it ends');
const CONTAINERS = noEffect('it is for the command mirrord container, which this version does not have');

const LOG_LEVEL = 'mirrord=info,warn';
const YEAR_SECONDS = 31_536_000;

export const internalProxy = section(
  'The proxy process beside the local process.',
  {
    start_idle_timeout: key(u64, 60, 'Seconds until the first connection.'),
    idle_timeout: key(u64, 5, 'Seconds without a connection.'),
    log_level: key(text, LOG_LEVEL, 'Level of its log.'),
    log_destination: key(optional(nonEmptyText), null, 'File of its log.'),
    json_log: key(bool, true, 'Log as JSON.'),
    socket_timeout: key(u64, YEAR_SECONDS, 'Seconds of silence on a socket.'),
    ping_interval: key(integer(1, 86_400), 30, 'Seconds between pings.'),
    process_logging_interval: key(u64, 60, 'Seconds between lists of processes.'),
  },
  { status: ONE_PROCESS },
);

export const externalProxy = section(
  'The proxy process of containers.',
  {
    start_idle_timeout: key(u64, 60, 'Seconds until the first connection.'),
    idle_timeout: key(u64, 5, 'Seconds without a connection.'),
    log_level: key(text, LOG_LEVEL, 'Level of its log.'),
    log_destination: key(optional(nonEmptyText), null, 'File of its log.'),
    json_log: key(bool, true, 'Log as JSON.'),
    tls_enable: key(bool, true, 'Encrypt.'),
    host_ip: key(optional(nonEmptyText), null, 'Address of this machine for the container.'),
  },
  { status: CONTAINERS },
);

export const container = section(
  'Running a container instead of a program.',
  {
    cli_image: key(optional(nonEmptyText), null, 'Image with mirrord.'),
    cli_extra_args: key(textList, [], 'More arguments of its container.'),
    cli_prevent_cleanup: key(bool, false, 'Keep its container.'),
    cli_image_lib_path: key(optional(nonEmptyText), null, 'Path of the layer in the image.'),
    override_host_ip: key(optional(nonEmptyText), null, 'Address of this machine for the container.'),
    host_gateway_detection: key(bool, true, 'Find that address out.'),
    cli_tls_path: key(text, '/opt/mirrord/tls/mirrord-tls.pem', 'Certificate in the container.'),
    platform: key(optional(nonEmptyText), null, 'Platform of the image.'),
  },
  { status: CONTAINERS },
);
