// All that can be configured. Everything that is said about a key is said here and in the files of the sections.

import { agent } from './agent.ts';
import { type Infer, ignored, key, noEffect, operatorOnly, section, textFor } from './dsl.ts';
import { experimental } from './experimental.ts';
import { feature } from './feature.ts';
import { container, externalProxy, internalProxy } from './processes.ts';
import { targetShort } from './target.ts';
import { bool, nameList, nonEmptyText, optional, text, u32, u64 } from './values.ts';

const NOT_SKIPPED = noEffect(
  'the layer watches the whole tree of processes and cannot leave one out by its name; ' +
    'paths that shall stay here are named by feature.fs.local',
);
const MACOS = ignored('of macOS only');

export const root = section('The configuration of a session.', {
  target: section(
    'What the local process stands in for: `pid/4711`, `container/NAME`; in a cluster `pod/NAME`, `deployment/NAME` and the like, optionally with `/container/NAME` after it.',
    {
      path: key(optional(nonEmptyText), null, 'The target.', {
        env: ['MIRRORD_IMPERSONATED_TARGET'],
        flag: '--target',
      }),
      namespace: key(
        optional(nonEmptyText),
        null,
        'Namespace of the target in the cluster; that of the context by default.',
        {
          env: ['MIRRORD_TARGET_NAMESPACE'],
          flag: '--target-namespace',
        },
      ),
    },
    { shorts: [textFor('path'), targetShort] },
  ),
  feature,
  key: key(
    optional(nonEmptyText),
    null,
    'Name of the session, for templates (`{{ key }}`); made up where it is not given.',
    {
      env: ['MIRRORD_KEY'],
      flag: '--key',
    },
  ),
  agent,
  skip_processes: key(nameList, [], 'Names of programs that mirrord leaves alone.', {
    env: ['MIRRORD_SKIP_PROCESSES'],
    flag: '--skip-processes',
    status: NOT_SKIPPED,
  }),
  skip_build_tools: key(bool, false, 'Leave compilers and build tools alone.', {
    env: ['MIRRORD_SKIP_BUILD_TOOLS'],
    status: NOT_SKIPPED,
  }),
  skip_extra_build_tools: key(nameList, [], 'More names for skip_build_tools.', {
    env: ['MIRRORD_SKIP_EXTRA_BUILD_TOOLS'],
    status: NOT_SKIPPED,
  }),
  accept_invalid_certificates: key(
    optional(bool),
    null,
    "`true`: do not check the certificate of the cluster's API; `false`: check it whatever the kubeconfig says.",
    {
      env: ['MIRRORD_ACCEPT_INVALID_CERTIFICATES'],
      flag: '--accept-invalid-certificates',
    },
  ),
  kubeconfig: key(
    optional(nonEmptyText),
    null,
    'Kubeconfig files, separated by colons, with `~` and `$NAME`; else those of KUBECONFIG, `~/.kube/config`, or the pod it runs in.',
    {
      env: ['MIRRORD_KUBECONFIG'],
    },
  ),
  kube_context: key(optional(nonEmptyText), null, 'Context of the kubeconfig; its current one by default.', {
    env: ['MIRRORD_KUBE_CONTEXT'],
    flag: '--context',
  }),
  use_proxy: key(bool, true, "Reach the cluster's API through HTTP_PROXY and HTTPS_PROXY.", {
    env: ['MIRRORD_PROXY'],
  }),
  profile: key(
    optional(nonEmptyText),
    null,
    "Profile of the cluster that changes how a session uses the network: `NAME` (MirrordClusterProfile), or `NAMESPACE/NAME` (MirrordProfile) of the target's namespace.",
  ),
  startup_retry: section("How often a failed call to the cluster's API is tried again while starting.", {
    min_ms: key(u64, 500, 'Wait before the first retry, milliseconds.'),
    max_ms: key(u64, 5000, 'Longest wait, milliseconds.'),
    max_retries: key(u32, 2, 'Retries; 0 for none, and no waiting for a server that restarts.'),
  }),
  operator: key(optional(bool), null, 'Use the operator.', {
    env: ['MIRRORD_OPERATOR_ENABLE'],
    status: operatorOnly,
    accepts: [false],
  }),
  multi_cluster: key(optional(bool), null, 'Several clusters at once.', {
    env: ['MIRRORD_MULTI_CLUSTER'],
    status: operatorOnly,
    accepts: [false],
  }),
  api: key(bool, false, 'Socket on which other programs see and end the session.', {
    env: ['MIRRORD_API'],
    status: noEffect('there is no such socket: mirrord session list and session stop do without it'),
    accepts: [false],
  }),
  telemetry: key(bool, false, 'Send figures of use to the makers.', {
    env: ['MIRRORD_TELEMETRY'],
    flag: '--no-telemetry',
    status: noEffect('nothing is ever sent to anybody'),
    accepts: [false],
  }),
  ci: section(
    'Sessions of build servers.',
    { output_dir: key(optional(text), null, 'Where their output goes.') },
    { status: operatorOnly },
  ),
  traceparent: key(
    optional(text),
    null,
    'W3C header of requests to the operator; the variable TRACEPARENT is left to the local process.',
    {
      status: operatorOnly,
    },
  ),
  baggage: key(
    optional(text),
    null,
    'W3C header of requests to the operator; the variable BAGGAGE is left to the local process.',
    {
      status: operatorOnly,
    },
  ),
  internal_proxy: internalProxy,
  external_proxy: externalProxy,
  container,
  experimental,
  sip_binaries: key(nameList, [], 'Programs whose protection is taken away.', { status: MACOS }),
  skip_sip: key(nameList, ['git'], 'Programs whose protection is left.', { env: ['MIRRORD_SKIP_SIP'], status: MACOS }),
});

export type Config = Infer<typeof root>;
