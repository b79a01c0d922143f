// Targets in a cluster as the user writes them: `pod/shop`, `deploy/shop/container/web`, `label/app=shop,tier=web`. Pure.

import { findKind, type Kind } from './kinds.ts';

export interface WorkloadTarget {
  readonly kind: 'workload';
  readonly workload: Kind;
  readonly name: string;
  /** null: chosen from the pod's. */
  readonly container: string | null;
}

export interface LabelTarget {
  readonly kind: 'label';
  readonly labels: readonly (readonly [key: string, value: string])[];
  readonly container: string | null;
}

/** No pod is stood in for: the local process gets the cluster's network and names. */
export interface Targetless {
  readonly kind: 'targetless';
}

export type ClusterTarget = WorkloadTarget | LabelTarget | Targetless;

/** RFC 1123 subdomain and label, as the API server checks them. */
const OBJECT_NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const CONTAINER_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const LABEL_KEY = /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const MAX_NAME = 253;

/** null where the first word is no word of a cluster; what is wrong after it as a text. */
export function parseClusterTarget(text: string): ClusterTarget | string | null {
  if (text === 'targetless') return { kind: 'targetless' };
  const slash = text.indexOf('/');
  const word = slash < 0 ? text : text.slice(0, slash);
  const rest = slash < 0 ? '' : text.slice(slash + 1);
  if (word === 'label' || word === 'labels') return parseLabels(word, rest);
  const row = findKind(word);
  return row === null ? null : parseWorkload(row.kind, word, rest);
}

function parseWorkload(workload: Kind, word: string, rest: string): ClusterTarget | string {
  const [name = '', ...more] = rest.split('/');
  if (name === '') return `a name is missing after ${word}/`;
  if (name.length > MAX_NAME || !OBJECT_NAME.test(name)) {
    return `${JSON.stringify(name)} cannot be the name of a ${workload}: lower-case letters, digits, - and . only`;
  }
  const container = parseContainer(more, `${word}/${name}`);
  return typeof container === 'string' ? container : { kind: 'workload', workload, name, container: container.name };
}

/** Keys of labels have slashes themselves, so the container is looked for from the end. */
function parseLabels(word: string, rest: string): ClusterTarget | string {
  const at = rest.lastIndexOf('/container/');
  const list = at < 0 ? rest : rest.slice(0, at);
  const more = at < 0 ? [] : ['container', rest.slice(at + '/container/'.length)];
  if (list === '') return `labels are missing after ${word}/, such as ${word}/app=shop`;
  const labels = new Map<string, string>();
  for (const pair of list.split(',')) {
    const equals = pair.indexOf('=');
    const [key, value] = equals < 0 ? [pair, null] : [pair.slice(0, equals), pair.slice(equals + 1)];
    if (value === null) return `${JSON.stringify(pair)} is no label: it wants key=value`;
    if (!LABEL_KEY.test(key)) return `${JSON.stringify(key)} cannot be the key of a label`;
    if (!LABEL_VALUE.test(value)) return `${JSON.stringify(value)} cannot be the value of a label`;
    if (labels.has(key)) return `the label ${key} is named twice`;
    labels.set(key, value);
  }
  const container = parseContainer(more, word);
  return typeof container === 'string' ? container : { kind: 'label', labels: [...labels], container: container.name };
}

function parseContainer(words: readonly string[], after: string): { name: string | null } | string {
  const [word, name, ...more] = words;
  if (word === undefined) return { name: null };
  if (word !== 'container') return `after ${after} only /container/NAME may follow, not /${words.join('/')}`;
  if (name === undefined || !CONTAINER_NAME.test(name)) return 'container/ wants the name of a container of the pod';
  if (more.length > 0) return `nothing may follow container/${name}`;
  return { name };
}

export function formatClusterTarget(target: ClusterTarget): string {
  if (target.kind === 'targetless') return 'targetless';
  const suffix = target.container === null ? '' : `/container/${target.container}`;
  if (target.kind === 'workload') return `${target.workload}/${target.name}${suffix}`;
  return `label/${selectorOf(target.labels)}${suffix}`;
}

/** As the API server wants it. */
export function selectorOf(labels: LabelTarget['labels']): string {
  return labels.map(([key, value]) => `${key}=${value}`).join(',');
}
