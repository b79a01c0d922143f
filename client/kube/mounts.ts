// Where volumes of a target's container are mounted, as patterns of feature.fs. Pure.

import type { Pod } from './objects.ts';

/** A mounted folder, or where it is one file or part of the volume (`subPath`), that path alone. */
export interface Mount {
  readonly path: string;
  readonly isAlone: boolean;
}

/** Of containers that a pod may have, the API allows no more than some hundred volumes. */
const MAX_MOUNTS = 256;

export function mountsOf({ spec }: Pod, container: string): Mount[] {
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  const mounts = all.find(({ name }) => name === container)?.volumeMounts ?? [];
  return mounts.slice(0, MAX_MOUNTS).flatMap(({ mountPath, subPath, subPathExpr }) => {
    const path = mountPath?.replace(/\/+$/, '') ?? '';
    return path.startsWith('/') ? [{ path, isAlone: Boolean(subPath || subPathExpr) }] : [];
  });
}

/** @param here folders of this machine that the local process lives in: what holds one of them stays here */
export function mountPatterns(mounts: readonly Mount[], local: readonly RegExp[], here: readonly string[]): string[] {
  const holds = (path: string) => here.some((one) => one === path || one.startsWith(`${path}/`));
  return mounts
    .filter(({ path }) => !holds(path) && !local.some((pattern) => pattern.test(path)))
    .map(({ path, isAlone }) => `^${path.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')}${isAlone ? '' : '(/.*)?'}$`);
}
