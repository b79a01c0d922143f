// What follows from the configuration as a whole and is written back into it, so that nobody else has to know it.

import type { Document } from './document.ts';
import type { SessionKey } from './key.ts';
import { placeOf, type Resolution } from './resolve.ts';
import type { Config } from './schema/root.ts';
import { isPlainObject } from './schema/values.ts';

export interface RewriteContext {
  key: SessionKey;
  env: NodeJS.ProcessEnv;
  document: Document;
}

/** Changes `resolution.config`. */
export function rewrite(resolution: Resolution, context: RewriteContext): void {
  setKey(resolution, context.key);
  includeInDisabledEnv(resolution, context.document);
  if (resolution.config.feature.magic.aws) applyAws(resolution, context.env);
}

function setKey(resolution: Resolution, key: SessionKey): void {
  const { config, sources, warnings } = resolution;
  const inFile = sources.get('key')?.kind === 'file' ? config.key : null;
  if (inFile !== null && key.isGenerated && key.isInTemplate) {
    const place = placeOf('key', sources.get('key'));
    warnings.push(`${place} could not be read before the templates of the file; in them {{ key }} was ${key.value}`);
  }
  resolution.config = { ...config, key: inFile ?? key.value };
}

/** `"env": false` with a variable or flag that includes names: those are what is wanted. */
function includeInDisabledEnv(resolution: Resolution, { value }: Document): void {
  const feature = isPlainObject(value) ? value['feature'] : undefined;
  const isDisabled = isPlainObject(feature) && feature['env'] === false;
  if (!isDisabled || resolution.config.feature.env.include === null) return;
  if (resolution.sources.get('feature.env.exclude')?.kind === 'file') changeEnv(resolution, { exclude: null });
}

function applyAws(resolution: Resolution, env: NodeJS.ProcessEnv): void {
  const { env: environment, fs } = resolution.config.feature;
  const isEnvOff = environment.exclude?.includes('*') === true;
  if (!isEnvOff) changeEnv(resolution, { unset: [...environment.unset, 'AWS_PROFILE'] });
  const home = (env['HOME'] ?? '').replace(/\/+$/, '');
  if (home === '' || fs.mode === 'local') return;
  const tmp = (env['TMPDIR'] || '/tmp').replace(/\/+$/, '');
  // A path is text here and a pattern there; its dollars are text in both.
  const pattern = `^${home.replaceAll(/[\\^$.*+?()[\]{}|/]/g, (char) => (char === '/' ? char : `\\${char}`))}/\\.aws(/.*)?$`;
  const mapping = [...fs.mapping, [pattern, `${tmp.replaceAll('$', '$$$$')}/.aws$1`] as const];
  const feature = { ...resolution.config.feature, fs: { ...fs, mapping } };
  resolution.config = { ...resolution.config, feature };
}

function changeEnv(resolution: Resolution, change: Partial<Config['feature']['env']>): void {
  const { config } = resolution;
  const env = { ...config.feature.env, ...change };
  resolution.config = { ...config, feature: { ...config.feature, env } };
}
