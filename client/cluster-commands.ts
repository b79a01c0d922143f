// The commands that are about a cluster, as rows for the table of arguments.ts. Pure.

import type { CommandRow, FlagRow } from './arguments.ts';

export const CONFIG_FLAG: FlagRow = {
  name: 'config-file',
  short: 'f',
  value: 'optional',
  shows: 'PATH',
  implied: './.mirrord/mirrord.json',
  help: 'JSON, TOML or YAML; - is stdin; no PATH: ./.mirrord/mirrord.json',
};

const CONTEXT_FLAG: FlagRow = {
  name: 'context',
  value: 'required',
  shows: 'CONTEXT',
  overrides: 'MIRRORD_KUBE_CONTEXT',
  completes: 'context',
  help: 'of the kubeconfig; its current one by default',
};

const INSECURE_FLAG: FlagRow = {
  name: 'accept-invalid-certificates',
  short: 'c',
  value: 'optional-with-equals',
  shows: 'true|false',
  implied: 'true',
  overrides: 'MIRRORD_ACCEPT_INVALID_CERTIFICATES',
  help: 'do not check the certificate of the API server',
};

export const HELP_FLAG: FlagRow = { name: 'help', short: 'h', value: 'none', help: 'this text' };

const NAMESPACE_FLAG: FlagRow = {
  name: 'namespace',
  short: 'n',
  value: 'required',
  shows: 'NAMESPACE',
  overrides: 'MIRRORD_TARGET_NAMESPACE',
  completes: 'namespace',
  help: 'that of the context by default',
};

function agentFlag(name: string, short: string | null, shows: string, variable: string, help: string): FlagRow {
  const row = { name, value: 'required', shows, overrides: variable, help } as const;
  return short === null ? row : { ...row, short };
}

/** Of `exec`: where its target is, and the agent beside it. */
export const TARGET_CLUSTER_FLAGS: readonly FlagRow[] = [
  { ...NAMESPACE_FLAG, name: 'target-namespace', help: 'of the target; by default of the context' },
  CONTEXT_FLAG,
  INSECURE_FLAG,
  agentFlag(
    'agent-namespace',
    'a',
    'NAMESPACE',
    'MIRRORD_AGENT_NAMESPACE',
    "of the agent's pod; the target's by default",
  ),
  agentFlag('agent-image', 'i', 'IMAGE', 'MIRRORD_AGENT_IMAGE', "of the agent's pod"),
  agentFlag('agent-log-level', 'l', 'LEVEL', 'MIRRORD_AGENT_RUST_LOG', 'trace, debug, info, warn or error'),
  agentFlag('agent-ttl', null, 'SECONDS', 'MIRRORD_AGENT_TTL', 'for which a finished agent stays'),
  agentFlag('agent-startup-timeout', null, 'SECONDS', 'MIRRORD_AGENT_STARTUP_TIMEOUT', 'for which it is waited for'),
];

const CLUSTER_FLAGS: readonly FlagRow[] = [CONFIG_FLAG, NAMESPACE_FLAG, CONTEXT_FLAG, INSECURE_FLAG];

export const CLUSTER_COMMANDS: readonly CommandRow[] = [
  {
    name: 'ls',
    usage: 'ls [FLAGS]',
    help: 'what can be targeted in a cluster',
    flags: [
      ...CLUSTER_FLAGS,
      { name: 'all-namespaces', short: 'A', value: 'none', help: 'of every namespace' },
      {
        name: 'target-type',
        short: 't',
        value: 'required',
        shows: 'KIND',
        completes: 'kind',
        repeats: true,
        help: 'only pods, deployments ...; several by comma or by repeating it',
      },
      { name: 'selector', short: 'l', value: 'required', shows: 'LABELS', help: 'only with these labels: app=shop' },
      {
        name: 'output',
        short: 'o',
        value: 'required',
        shows: 'FORMAT',
        help: 'json or name; text for people without it',
      },
      { name: 'json', value: 'none', help: 'the same as -o json' },
      HELP_FLAG,
    ],
  },
  {
    name: 'doctor',
    usage: 'doctor [FLAGS]',
    help: 'what will work here and in the cluster, and whose move it is where it will not',
    flags: [
      ...CLUSTER_FLAGS,
      {
        name: 'target',
        short: 't',
        value: 'required',
        shows: 'TARGET',
        overrides: 'MIRRORD_IMPERSONATED_TARGET',
        completes: 'target',
        help: 'looks at its node as well',
      },
      { name: 'json', value: 'none', help: 'for programs' },
      HELP_FLAG,
    ],
  },
  {
    name: 'clean',
    usage: 'clean [FLAGS]',
    help: 'remove what ended sessions left in a cluster',
    flags: [
      ...CLUSTER_FLAGS,
      { name: 'all-namespaces', short: 'A', value: 'none', help: 'in every namespace' },
      { name: 'session', value: 'required', shows: 'ID', help: 'only this one, even if it runs' },
      { name: 'running', value: 'none', help: 'also what runs, whoever uses it' },
      { name: 'dry-run', value: 'none', help: 'only say what would be removed' },
      HELP_FLAG,
    ],
  },
  {
    name: 'session',
    usage: 'session list | session stop ID',
    help: 'the sessions of this machine and of a namespace: what each steals, since when, from where; and their end',
    flags: [
      ...CLUSTER_FLAGS,
      { name: 'all-namespaces', short: 'A', value: 'none', help: 'in every namespace' },
      { name: 'json', value: 'none', help: 'for programs' },
      HELP_FLAG,
    ],
  },
  {
    name: 'complete',
    usage: 'complete WHAT PREFIX -- WORDS',
    help: 'asked by the completion scripts',
    flags: [],
    isHidden: true,
    takesCommand: true,
  },
];
