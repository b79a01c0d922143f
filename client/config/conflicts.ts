// What no key can say of itself: values that exclude each other, and values that do nothing beside others.

import { AppError } from '#proto/errors.ts';
import { parseTarget } from '../target.ts';
import { placeOf, type Resolution } from './resolve.ts';
import type { Config } from './schema/root.ts';

/** More than this for one open is rarely meant. */
const LARGE_BUFFER_BYTES = 1 << 20;

/** Adds to the faults and warnings. */
export function verify(resolution: Resolution): void {
  const { config, faults, warnings, sources } = resolution;
  const place = (path: string) => placeOf(path, sources.get(path));
  const isSet = (path: string) => sources.has(path);
  checkTarget(config, faults, place);
  checkFiles(config, warnings, place, isSet);
  checkNetwork(config, faults, warnings, place);
  if (config.feature.env.include !== null && config.feature.env.exclude !== null) {
    faults.push(`${place('feature.env.include')} and ${place('feature.env.exclude')} exclude each other; remove one`);
  }
  const { min_ms, max_ms } = config.startup_retry;
  if (min_ms > max_ms || max_ms === 0) {
    faults.push(`${place('startup_retry.max_ms')}: ${max_ms} must be above 0 and not below min_ms, which is ${min_ms}`);
  }
  if (config.agent.namespace !== null && config.agent.ephemeral) {
    warnings.push(`${place('agent.namespace')} has no effect: an ephemeral agent is in the namespace of its pod`);
  }
}

function checkTarget(config: Config, faults: string[], place: (path: string) => string): void {
  if (config.target.path === null) return;
  try {
    if (parseTarget(config.target.path).kind !== 'targetless') return;
    if (config.feature.network.incoming.mode === 'steal') {
      faults.push(`${place('feature.network.incoming.mode')}: nothing can be stolen without a target`);
    }
    if (config.agent.ephemeral) {
      faults.push(`${place('agent.ephemeral')}: an ephemeral agent is in the pod of its target, and there is none`);
    }
  } catch (error) {
    faults.push(`${place('target.path')}: ${AppError.from(error, 'CONFIG_INVALID').message}`);
  }
}

function checkFiles(
  config: Config,
  warnings: string[],
  place: (path: string) => string,
  isSet: (path: string) => boolean,
): void {
  const { fs } = config.feature;
  if (fs.readonly_file_buffer > LARGE_BUFFER_BYTES) {
    const what = `${fs.readonly_file_buffer} bytes are fetched for every file that is opened for reading`;
    warnings.push(
      `${place('feature.fs.readonly_file_buffer')}: ${what}; more than ${LARGE_BUFFER_BYTES} is rarely faster`,
    );
  }
  if (fs.mode !== 'local') return;
  for (const key of ['read_write', 'read_only', 'local', 'not_found', 'mapping'] as const) {
    const path = `feature.fs.${key}`;
    if (isSet(path) && fs[key].length > 0) {
      warnings.push(`${place(path)} has no effect: feature.fs.mode is local; use localwithoverrides`);
    }
  }
}

function checkNetwork(config: Config, faults: string[], warnings: string[], place: (path: string) => string): void {
  const { incoming, outgoing, dns } = config.feature.network;
  const at = (key: string) => place(`feature.network.${key}`);
  const { header_filter, path_filter, body_filter, all_of, any_of } = incoming.http_filter;
  const kinds = Object.entries({ header_filter, path_filter, body_filter, all_of, any_of }).filter(
    ([, one]) => one !== null,
  );
  if (kinds.length > 1) {
    faults.push(
      `${at('incoming.http_filter')}: ${kinds.map(([name]) => name).join(', ')} exclude each other; use all_of`,
    );
  }
  if (incoming.ports !== null && incoming.ignore_ports.length > 0) {
    faults.push(`${at('incoming.ports')} and ${at('incoming.ignore_ports')} exclude each other; remove one`);
  }
  if (incoming.tls_delivery !== null && incoming.https_delivery !== null) {
    faults.push(`${at('incoming.https_delivery')} is the old name of tls_delivery; remove one of them`);
  } else if (incoming.https_delivery !== null) {
    warnings.push(`${at('incoming.https_delivery')} is deprecated; it is called tls_delivery`);
  }
  const hasTls = incoming.tls.length > 0 || incoming.tls_delivery !== null;
  if (hasTls && incoming.mode !== 'steal') {
    const what = incoming.tls.length > 0 ? 'tls' : 'tls_delivery';
    warnings.push(`${at(`incoming.${what}`)} has no effect: only what is stolen is read; a mirror sees TLS as it is`);
  }
  for (const [local, remote] of incoming.port_mapping) {
    if (local === remote) warnings.push(`${at('incoming.port_mapping')} maps port ${local} to itself`);
  }
  if (outgoing.filter?.side === 'remote' && !dns.enabled) {
    warnings.push(`${at('outgoing.filter')}: names in it are looked up here, because feature.network.dns is off`);
  }
  if (dns.filter !== null && (!dns.enabled || dns.filter.entries.length === 0)) {
    warnings.push(`${at('dns.filter')} has no effect: ${dns.enabled ? 'it is empty' : 'feature.network.dns is off'}`);
  }
}
