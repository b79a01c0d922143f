// `profile`: what the cluster's administrators have written down under a name changes features of a session. The objects are
// of definitions that somebody else installs; without them the name is one that nobody knows.

import { AppError } from '#proto/errors.ts';
import type { Config } from '../config/schema/root.ts';
import type { KubeApi } from './api.ts';
import { isStatus } from './status.ts';

type Network = Config['feature']['network'];

const API = '/apis/profiles.mirrord.metalbear.co/v1alpha';
/** Of a profile; more are no changes that a person has written. */
const MAX_ADJUSTMENTS = 64;

const withMode = (mode: Network['incoming']['mode']) => (network: Network) => ({
  ...network,
  incoming: { ...network.incoming, mode },
});
const withDns = (enabled: boolean) => (network: Network) => ({ ...network, dns: { ...network.dns, enabled } });
const withOutgoing = (isOn: boolean) => (network: Network) => ({
  ...network,
  outgoing: { ...network.outgoing, tcp: isOn, udp: isOn },
});

const CHANGES: Readonly<Record<string, (network: Network) => Network>> = {
  IncomingMirror: withMode('mirror'),
  IncomingSteal: withMode('steal'),
  IncomingOff: withMode('off'),
  DnsRemote: withDns(true),
  DnsOff: withDns(false),
  OutgoingRemote: withOutgoing(true),
  OutgoingOff: withOutgoing(false),
};

/** `name` is one of the whole cluster, `namespace/name` one of the target's namespace. */
export interface ProfileOptions {
  readonly api: Pick<KubeApi, 'get' | 'access'>;
  readonly profile: string;
  readonly config: Config;
  readonly signal?: AbortSignal;
}

/** Rejects with CONFIG_INVALID when there is no such profile, or it holds what is not understood. */
export async function applyProfile(options: ProfileOptions): Promise<Config> {
  const { profile, config } = options;
  let { network } = config.feature;
  for (const change of changesOf(await readProfile(options), profile)) network = change(network);
  return { ...config, feature: { ...config.feature, network } };
}

async function readProfile({ api, profile, config, signal }: ProfileOptions): Promise<unknown> {
  const [, namespace, name = ''] = /^(?:([a-z0-9-]+)\/)?([a-z0-9.-]+)$/.exec(profile) ?? [];
  if (name === '') throw fault(profile, 'is no name of a profile: it is NAME, or NAMESPACE/NAME');
  const targets = config.target.namespace ?? api.access.namespace;
  if (namespace !== undefined && namespace !== targets) {
    throw fault(profile, `is of namespace ${namespace}, and the target is in ${targets}`);
  }
  const path =
    namespace === undefined
      ? `${API}/mirrordclusterprofiles/${name}`
      : `${API}/namespaces/${namespace}/mirrordprofiles/${name}`;
  try {
    return await api.get<unknown>(path, signal === undefined ? {} : { signal });
  } catch (error) {
    if (!isStatus(error, 404)) throw error;
    const why = error.isOfUnknownApi
      ? 'the cluster knows no profiles (their definitions are not installed)'
      : 'there is none of this name';
    throw fault(profile, `is not in the cluster: ${why}`, error);
  }
}

function changesOf(object: unknown, profile: string): ((network: Network) => Network)[] {
  const spec = Object(Object(object).spec) as Readonly<Record<string, unknown>>;
  const { featureAdjustments = [], ...others } = spec;
  const [stranger] = Object.keys(others);
  if (stranger !== undefined)
    throw fault(profile, `has a field ${JSON.stringify(stranger)} that this version does not know`);
  if (!Array.isArray(featureAdjustments)) throw fault(profile, 'has featureAdjustments that are no list');
  if (featureAdjustments.length > MAX_ADJUSTMENTS) throw fault(profile, `has more than ${MAX_ADJUSTMENTS} adjustments`);
  return featureAdjustments.map((one: unknown) => {
    const { change, ...rest } = Object(one) as Readonly<Record<string, unknown>>;
    const [odd] = Object.keys(rest);
    if (odd !== undefined) throw fault(profile, `has a field ${JSON.stringify(odd)} that this version does not know`);
    const act = typeof change === 'string' && Object.hasOwn(CHANGES, change) ? CHANGES[change] : undefined;
    if (act !== undefined) return act;
    throw fault(profile, `asks for ${JSON.stringify(change)}, which is none of ${Object.keys(CHANGES).join(', ')}`);
  });
}

function fault(profile: string, what: string, cause?: unknown): AppError {
  return new AppError('CONFIG_INVALID', `profile: ${JSON.stringify(profile)} ${what}`, { cause });
}
