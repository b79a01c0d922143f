// YAML through `yaml`, in a file of its own so that it is loaded only for a kubeconfig that is not JSON.

import { parse } from 'yaml';

/** An alias of aliases of aliases makes gigabytes of a kilobyte. */
const MAX_ALIASES = 100;

export function parseYaml(text: string): unknown {
  return parse(text, { maxAliasCount: MAX_ALIASES });
}
