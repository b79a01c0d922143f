// feature.magic.auto_mount: where only what the user names is read in the target, its volumes are among that.

import type { Config } from './config/schema/root.ts';
import { compilePattern } from './file-rules/pattern.ts';
import { type Mount, mountPatterns } from './kube/mounts.ts';

/** Folders of this machine that the local process lives in. */
type Here = Readonly<{ home: string; cwd: string; tmp: string }>;

export function withVolumes(
  config: Config,
  mounts: readonly Mount[],
  { home, cwd, tmp }: Here,
  progress: { info(text: string): void },
): Config {
  const { fs, magic } = config.feature;
  if (!magic.auto_mount || fs.mode !== 'localwithoverrides') return config;
  const local = fs.local.flatMap((text) => {
    const pattern = compilePattern(text);
    return 'ok' in pattern ? [pattern.ok.regex] : [];
  });
  const here = [home, cwd, tmp].filter((folder) => folder !== '');
  const added = mountPatterns(mounts, local, here);
  if (added.length > 0) progress.info(`volumes of the target are read there: ${added.join(' ')}`);
  const feature = { ...config.feature, fs: { ...fs, read_only: [...fs.read_only, ...added] } };
  return { ...config, feature };
}
