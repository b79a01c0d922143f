// The forms of `target` besides a text: an object that names the kind of thing.

import type { ShortForm } from './dsl.ts';
import { isPlainObject } from './values.ts';

/** Key of the object to the word of the text form. */
const KINDS: Readonly<Record<string, string>> = {
  pod: 'pod',
  deployment: 'deployment',
  rollout: 'rollout',
  job: 'job',
  cron_job: 'cronjob',
  stateful_set: 'statefulset',
  service: 'service',
  replica_set: 'replicaset',
  daemon_set: 'daemonset',
  pid: 'pid',
};
const TEXT = { type: 'string' };

/** `{"pod": "shop", "container": "web", "namespace": "x"}`, or the same as the value of `path`. */
export const targetShort: ShortForm = {
  doc: 'an object such as `{"pod": "shop", "container": "web"}`, also as the value of `path`',
  json: {
    type: 'object',
    properties: {
      ...Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, kind === 'pid' ? { type: 'integer' } : TEXT])),
      labels: { type: 'object', additionalProperties: TEXT },
      container: TEXT,
      namespace: TEXT,
    },
    additionalProperties: false,
  },
  words: [...Object.keys(KINDS), 'labels', 'container'],
  expand: (value) => {
    if (!isPlainObject(value)) return null;
    if (isPlainObject(value['path'])) {
      const path = objectToText(value['path']);
      return path === null ? null : { ...value, path };
    }
    if ('path' in value) return null;
    const { namespace, ...object } = value;
    const path = objectToText(object);
    return path === null ? null : { path, ...(namespace === undefined ? {} : { namespace }) };
  },
};

/** null where it is no such object; the section's own keys are then looked for. */
function objectToText(object: Readonly<Record<string, unknown>>): string | null {
  const { container, labels, ...named } = object;
  if (container !== undefined && typeof container !== 'string') return null;
  const names = Object.entries(named);
  const suffix = container === undefined ? '' : `/container/${container}`;
  if (labels !== undefined) {
    if (names.length > 0 || !isPlainObject(labels)) return null;
    const pairs = Object.entries(labels).map(([name, value]) => `${name}=${String(value)}`);
    return pairs.length === 0 ? null : `label/${pairs.join(',')}${suffix}`;
  }
  if (names.length === 0) return container === undefined ? null : `container/${container}`;
  const [entry] = names;
  if (names.length !== 1 || entry === undefined) return null;
  const kind = Object.hasOwn(KINDS, entry[0]) ? KINDS[entry[0]] : undefined;
  const isName = typeof entry[1] === 'string' || (kind === 'pid' && typeof entry[1] === 'number');
  return kind === undefined || !isName ? null : `${kind}/${String(entry[1])}${suffix}`;
}
