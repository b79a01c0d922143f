// Containers of this machine without asking any runtime: ids from the cgroup paths of processes, names from the files in
// which the runtimes keep them. Docker, containerd (Kubernetes and nerdctl), CRI-O and podman; cgroup v1 and v2.

import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** A process tree below a container's cgroup. */
export interface RunningContainer {
  readonly id: string;
  readonly pids: readonly number[];
}

/** Larger state files are none of the runtimes'. */
const MAX_STATE_FILE_BYTES = 4 * 1024 * 1024;

/**
 * Last part of a cgroup path that names a container: `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`,
 * `libpod-ID.scope`, `kubepods-...:cri-containerd:ID`. The monitors beside a container (`conmon`) are not in it.
 */
const CONTAINER_SEGMENT = /(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$/;

/** The innermost container of a process by its /proc/PID/cgroup, or null. */
export function containerIdOf(cgroupText: string): string | null {
  for (const line of cgroupText.split('\n')) {
    const cgroupPath = line.split(':').slice(2).join(':');
    for (const segment of cgroupPath.split('/').reverse()) {
      const id = segment.includes('conmon') ? null : CONTAINER_SEGMENT.exec(segment)?.[1];
      if (id !== undefined && id !== null) return id;
    }
  }
  return null;
}

/** Every container that has a process, in the order of their processes. */
export function runningContainers(root: string): RunningContainer[] {
  const pidsById = new Map<string, number[]>();
  for (const name of list(path.join(root, 'proc'))) {
    if (!/^\d+$/.test(name)) continue;
    const cgroup = read(path.join(root, 'proc', name, 'cgroup'));
    const id = cgroup === null ? null : containerIdOf(cgroup);
    if (id === null) continue;
    const pids = pidsById.get(id);
    if (pids === undefined) pidsById.set(id, [Number(name)]);
    else pids.push(Number(name));
  }
  return [...pidsById].map(([id, pids]) => ({ id, pids: pids.sort((a, b) => a - b) }));
}

/** Ids by name, as the runtimes' state files below `root` say; a name may belong to several. */
export function containerNames(root: string): Map<string, Set<string>> {
  const idsByName = new Map<string, Set<string>>();
  const add = (name: unknown, id: unknown) => {
    if (typeof name !== 'string' || typeof id !== 'string' || name === '' || !/^[0-9a-f]{64}$/.test(id)) return;
    const ids = idsByName.get(name) ?? new Set();
    idsByName.set(name, ids.add(id));
  };
  addDockerNames(root, add);
  addStorageNames(root, add);
  addNerdctlNames(root, add);
  addKubernetesNames(root, add);
  return idsByName;
}

type Add = (name: unknown, id: unknown) => void;

function addDockerNames(root: string, add: Add): void {
  const folder = path.join(root, 'var/lib/docker/containers');
  for (const id of list(folder)) {
    const state = readJson(path.join(folder, id, 'config.v2.json'));
    const name = field(state, 'Name');
    if (typeof name === 'string') add(name.replace(/^\//, ''), id);
  }
}

/** containers/storage: podman, and CRI-O whose names are k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT. */
function addStorageNames(root: string, add: Add): void {
  const homes = list(path.join(root, 'home')).map((user) => path.join('home', user, '.local/share/containers/storage'));
  for (const storage of ['var/lib/containers/storage', ...homes]) {
    for (const driver of list(path.join(root, storage))) {
      if (!driver.endsWith('-containers')) continue;
      const entries = readJson(path.join(root, storage, driver, 'containers.json'));
      for (const entry of Array.isArray(entries) ? entries : []) {
        const names = field(entry, 'names');
        for (const name of Array.isArray(names) ? names : []) {
          add(name, field(entry, 'id'));
          add(/^k8s_([^_]+)_/.exec(String(name))?.[1], field(entry, 'id'));
        }
      }
    }
  }
}

/** One file for each name, which holds the id. */
function addNerdctlNames(root: string, add: Add): void {
  const folder = path.join(root, 'var/lib/nerdctl');
  for (const address of list(folder)) {
    for (const namespace of list(path.join(folder, address, 'names'))) {
      for (const name of list(path.join(folder, address, 'names', namespace))) {
        add(name, read(path.join(folder, address, 'names', namespace, name))?.trim());
      }
    }
  }
}

/** containerd under Kubernetes: the bundle's annotations. A pod's sandbox has no container name, and is not meant. */
function addKubernetesNames(root: string, add: Add): void {
  const folder = path.join(root, 'run/containerd/io.containerd.runtime.v2.task');
  for (const namespace of list(folder)) {
    for (const id of list(path.join(folder, namespace))) {
      const annotations = field(readJson(path.join(folder, namespace, id, 'config.json')), 'annotations');
      add(field(annotations, 'io.kubernetes.cri.container-name'), id);
      add(field(annotations, 'nerdctl/name'), id);
    }
  }
}

/** Names of a folder, none when it is not there: most machines have one runtime or none. */
function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function read(file: string): string | null {
  try {
    const content = readFileSync(file);
    return content.length > MAX_STATE_FILE_BYTES ? null : content.toString('utf8');
  } catch {
    return null;
  }
}

function readJson(file: string): unknown {
  const content = read(file);
  if (content === null) return null;
  try {
    return JSON.parse(content);
  } catch {
    return null;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
