// YAML through `yaml`, in a file of its own so that it is loaded only for a kubeconfig that is not JSON.

import { parse, parseDocument } from 'yaml';

/** An alias of aliases of aliases makes gigabytes of a kilobyte. */
const MAX_ALIASES = 100;

export function parseYaml(text: string): unknown {
  return parse(text, { maxAliasCount: MAX_ALIASES });
}

/** The text with other values at some places; comments and order stay. */
export function withValues(
  text: string,
  values: readonly { path: readonly (string | number)[]; value: string }[],
): string {
  const document = parseDocument(text);
  for (const { path, value } of values) document.setIn(path, value);
  return document.toString({ lineWidth: 0 });
}
