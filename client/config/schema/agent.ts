// agent: how the agent runs in a cluster; on this machine it needs no settings.

import { isIP } from 'node:net';
import { key, noEffect, section, works } from './dsl.ts';
import {
  anything,
  bool,
  check,
  integer,
  isPlainObject,
  listOf,
  nonEmptyText,
  oneOf,
  optional,
  text,
  textMap,
  u16,
  u32,
  u64,
} from './values.ts';

const objects = optional({
  ...anything({ type: 'object' }),
  name: 'a map',
  read: (value: unknown) => (isPlainObject(value) ? { ok: value } : { bad: 'wants a map' }),
});
const listOfObjects = optional({
  ...anything({ type: 'array' }),
  name: 'a list of maps',
  read: (value: unknown) =>
    Array.isArray(value) && value.every(isPlainObject) ? { ok: value as unknown } : { bad: 'wants a list of maps' },
});
const image = optional({
  ...anything({ anyOf: [{ type: 'string' }, { type: 'object' }] }),
  name: 'a text or a map with registry and tag',
  read: (value: unknown) =>
    typeof value === 'string' || isPlainObject(value)
      ? { ok: value as unknown }
      : { bad: 'wants a text or a map with registry and tag' },
});
const listenAddress = check(nonEmptyText, (value) => {
  const [, host = '', port = ''] = /^\[?([^\]]*)\]?:(\d{1,5})$/.exec(value) ?? [];
  const isFine = isIP(host) === (value.startsWith('[') ? 6 : 4) && Number(port) >= 1 && Number(port) <= 65_535;
  return isFine ? null : 'wants an address and a port, such as 0.0.0.0:9000 or [::]:9000';
});
const capability = oneOf('NET_ADMIN', 'SYS_PTRACE', 'SYS_ADMIN');

export const agent = section(
  'The agent in a cluster.',
  {
    log_level: key(text, 'info', 'Level of its log.', { env: ['MIRRORD_AGENT_RUST_LOG'], flag: '--agent-log-level' }),
    json_log: key(bool, false, 'Log as JSON.', {
      env: ['MIRRORD_AGENT_JSON_LOG'],
      status: noEffect('the log of the agent is always JSON'),
    }),
    namespace: key(optional(nonEmptyText), null, 'Namespace in which it runs.', {
      env: ['MIRRORD_AGENT_NAMESPACE'],
      flag: '--agent-namespace',
    }),
    image: key(
      image,
      null,
      'Image of its containers. Where it says no registry or no tag, MIRRORD_AGENT_IMAGE_REGISTRY and MIRRORD_AGENT_IMAGE_TAG do.',
      {
        env: ['MIRRORD_AGENT_IMAGE'],
        flag: '--agent-image',
      },
    ),
    image_pull_policy: key(text, 'IfNotPresent', 'When the image is pulled.', {
      env: ['MIRRORD_AGENT_IMAGE_PULL_POLICY'],
    }),
    image_pull_secrets: key(listOfObjects, null, 'Secrets for the registry, each `{name}`.'),
    ttl: key(u16, 1, 'Seconds for which a finished agent stays.', { env: ['MIRRORD_AGENT_TTL'], flag: '--agent-ttl' }),
    ephemeral: key(bool, false, "Run as an ephemeral container of the target's pod (Kubernetes 1.25 and newer).", {
      env: ['MIRRORD_EPHEMERAL_CONTAINER'],
      flag: '--ephemeral-container',
    }),
    communication_timeout: key(optional(u16), null, 'Seconds for which it waits for its client.', {
      env: ['MIRRORD_AGENT_COMMUNICATION_TIMEOUT'],
    }),
    startup_timeout: key(u64, 60, 'Seconds for which the client waits for it.', {
      env: ['MIRRORD_AGENT_STARTUP_TIMEOUT'],
      flag: '--agent-startup-timeout',
    }),
    reconnect_timeout: key(
      u16,
      60,
      'Seconds for which a session waits for its connection to come back when it broke; 0 ends it at once.',
      { env: ['MIRRORD_AGENT_RECONNECT_TIMEOUT'], status: works },
    ),
    direct_connection: key(
      bool,
      false,
      'Reach the agent at the address of its pod, in TLS, where that is possible; else through the API server.',
      { env: ['MIRRORD_AGENT_DIRECT_CONNECTION'] },
    ),
    follow_target: key(
      bool,
      false,
      'Go on with the next pod of the workload when the one that was chosen ends; open files and connections are lost.',
      { env: ['MIRRORD_AGENT_FOLLOW_TARGET'] },
    ),
    flush_connections: key(
      bool,
      false,
      'Connections of a stolen port that began before the session are closed in the target, ten a second, so that their peers come again.',
      { env: ['MIRRORD_AGENT_STEALER_FLUSH_CONNECTIONS'] },
    ),
    disabled_capabilities: key(listOf(capability), [], 'Capabilities it goes without.'),
    tolerations: key(listOfObjects, null, 'Tolerations of its pod; all taints are tolerated by default.'),
    resources: key(objects, null, 'Requests and limits of its pod.'),
    check_out_of_pods: key(bool, true, 'Refuse a node that has no room for a pod.', {
      status: noEffect('the node itself refuses a pod that it has no room for, and mirrord says so'),
    }),
    privileged: key(bool, false, 'Run privileged.'),
    external_ip_fix: key(bool, true, 'Pass unstolen connections on to their own address.', {
      env: ['MIRRORD_AGENT_EXTERNAL_IP_FIX'],
      status: noEffect('a connection that is not stolen always goes on to the address it was made to'),
    }),
    nftables: key(optional(bool), null, 'Use nftables; found out by default.', {
      status: noEffect('the kernel is asked for sk_lookup, nf_tables and ip_tables, in this order'),
    }),
    dns: section(
      'Its name lookups.',
      {
        timeout: key(optional(u32), null, 'Seconds for which a resolver waits for an answer.'),
        attempts: key(optional(u32), null, 'How often it asks.'),
      },
      { status: works },
    ),
    labels: key(optional(textMap), null, 'Labels of its pod.'),
    annotations: key(optional(textMap), null, 'Annotations of its pod.'),
    node_selector: key(optional(textMap), null, 'Nodes for an agent without a target.'),
    service_account: key(optional(nonEmptyText), null, 'Service account of its pod.'),
    priority_class: key(optional(nonEmptyText), null, 'Priority class of its pod.'),
    metrics: key(
      optional(listenAddress),
      null,
      "Address at which it serves figures for Prometheus under `/metrics`, such as `0.0.0.0:9000`: in its own pod, with `ephemeral` in the target's. Whoever reaches the address may read them; none names a target or a user.",
    ),
    exclude_from_mesh: key(bool, false, 'Keep its port out of the service mesh.', {
      env: ['MIRRORD_AGENT_EXCLUDE_FROM_MESH'],
      status: noEffect('the agent listens on the loopback of its pod, which meshes leave alone'),
    }),
    inject_headers: key(
      bool,
      false,
      'Responses from stolen ports have a header that says who answered: `Mirrord-Agent: passed-through` for the target, `forwarded-to-client` for the local process.',
    ),
    override_cache_control: key(
      bool,
      false,
      "Responses from stolen ports have `Cache-Control: no-cache, no-store, must-revalidate` in place of their own, the target's too. They are passed on unchanged by default.",
    ),
    max_body_buffer_size: key(u32, 65_535, 'Bytes of a body that filters look at; 1 MiB at most.'),
    max_body_buffer_timeout: key(u32, 1000, 'Milliseconds for which they wait for it; 10,000 at most.'),
    http_detection_timeout: key(
      integer(1, 3_600),
      10,
      'Seconds that the first request of a connection to a stolen port may take, from its first byte, before it is taken for no HTTP. Servers that speak first, and clients that are silent, wait for nothing.',
      { env: ['MIRRORD_AGENT_HTTP_DETECTION_TIMEOUT'] },
    ),
    security_context: key(objects, null, 'AppArmor and seccomp profiles of its pod.'),
    clean_iptables_on_start: key(optional(bool), null, 'Remove what an earlier agent left.', {
      env: ['MIRRORD_AGENT_CLEAN_IPTABLES_ON_START'],
      status: noEffect('a stealer always removes what earlier ones left'),
    }),
    disable_mesh_sidecar_injection: key(bool, true, 'Keep service meshes out of its pod.'),
    jaq_time_limit: key(u64, 1, 'Seconds that a jq filter may take.', {
      status: noEffect('a filter is limited by the work it does, not by time'),
    }),
  },
  { status: works },
);
