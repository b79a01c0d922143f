// Which cluster, as whom, and how it is reached: kubeconfig or the pod we run in, the choice of a context, and the settings
// that win over both.

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { AppError } from '#proto/errors.ts';
import { nearest } from '../config/nearest.ts';
import { type Credentials, credentialsOf, tokenFileCredentials } from './credentials.ts';
import { dataOrFile, type Entry, fault, isTrue, type Kubeconfig, optionalText, readKubeconfig } from './kubeconfig.ts';
import { type ProxyAddress, parseProxy, proxyFromEnvironment } from './proxy.ts';

export interface ClusterSettings {
  /** `kubeconfig` of the configuration: files separated by colons, `~` and `$NAME` allowed. */
  readonly kubeconfig: string | null;
  readonly context: string | null;
  /** null: as the kubeconfig says. */
  readonly acceptInvalidCertificates: boolean | null;
  /** Whether HTTPS_PROXY and its like are heeded. */
  readonly useProxy: boolean;
  readonly env: NodeJS.ProcessEnv;
  /** Whether a credential plugin may ask the user. */
  readonly isInteractive: boolean;
}

export interface ClusterTls {
  /** null: those of the system. */
  readonly ca: Buffer | null;
  readonly serverName: string | null;
  readonly isInsecure: boolean;
}

export interface ClusterAccess {
  readonly server: URL;
  /** null inside a pod. */
  readonly contextName: string | null;
  /** Of the context; `default` where it names none. */
  readonly namespace: string;
  readonly tls: ClusterTls;
  readonly proxy: ProxyAddress | null;
  readonly credentials: Credentials;
}

/** Mounted into every pod that has a service account (Kubernetes: "Accessing the API from a Pod"). */
const IN_CLUSTER_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Throws CONFIG_INVALID that names the file, the context and what is wrong there. Asks nobody. */
export async function loadClusterAccess(
  settings: ClusterSettings,
  inClusterFolder = IN_CLUSTER_FOLDER,
): Promise<ClusterAccess> {
  const files = filesOf(settings);
  const kubeconfig = await readKubeconfig(files.paths);
  if (kubeconfig === null || (kubeconfig.contexts.size === 0 && !files.isExplicit)) {
    const inCluster = files.isExplicit ? null : await inClusterAccess(settings, inClusterFolder);
    if (inCluster !== null) return inCluster;
    throw noCluster(files, kubeconfig !== null);
  }
  return fromKubeconfig(kubeconfig, settings);
}

/** Of every file that would be read; empty where there is none. */
export async function contextNames(settings: Pick<ClusterSettings, 'kubeconfig' | 'env'>): Promise<string[]> {
  const kubeconfig = await readKubeconfig(filesOf(settings).paths);
  return kubeconfig === null ? [] : [...kubeconfig.contexts.keys()];
}

interface Files {
  readonly paths: readonly string[];
  readonly isExplicit: boolean;
  readonly from: string;
}

function filesOf({ kubeconfig, env }: Pick<ClusterSettings, 'kubeconfig' | 'env'>): Files {
  const split = (list: string) => list.split(':').filter((file) => file !== '');
  if (kubeconfig !== null) {
    const paths = split(kubeconfig).map((file) => path.resolve(expand(file, env)));
    return { paths, isExplicit: true, from: 'the setting kubeconfig' };
  }
  const variable = env['KUBECONFIG'];
  if (variable) {
    return { paths: split(variable).map((file) => path.resolve(file)), isExplicit: true, from: 'KUBECONFIG' };
  }
  return { paths: [path.join(env['HOME'] || homedir(), '.kube/config')], isExplicit: false, from: 'the default' };
}

function expand(file: string, env: NodeJS.ProcessEnv): string {
  const home = env['HOME'] || homedir();
  return file
    .replace(/^~(?=\/|$)/, home)
    .replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced: string, bare: string) => env[braced ?? bare] ?? '');
}

function noCluster({ paths, from }: Files, isEmpty: boolean): AppError {
  const what = isEmpty ? 'names no context' : 'does not exist';
  return new AppError(
    'CONFIG_INVALID',
    `no cluster is known: ${paths.join(':') || 'an empty list'} ${what} (${from})`,
    {
      data: {
        advice:
          'set KUBECONFIG, or the key kubeconfig, to the file that kubectl uses; pid/N and container/NAME need none.',
      },
    },
  );
}

function fromKubeconfig(kubeconfig: Kubeconfig, settings: ClusterSettings): ClusterAccess {
  const context = contextOf(kubeconfig, settings.context);
  const cluster = referred(kubeconfig.clusters, context, 'cluster');
  const place = `${cluster.file}, cluster ${JSON.stringify(cluster.name)}`;
  const server = serverOf(optionalText(cluster.fields, 'server', place), place);
  const proxyUrl = optionalText(cluster.fields, 'proxy-url', place);
  const isInsecure = settings.acceptInvalidCertificates ?? isTrue(cluster.fields, 'insecure-skip-tls-verify');
  return {
    server,
    contextName: context.name,
    namespace: optionalText(context.fields, 'namespace', context.file) ?? 'default',
    tls: {
      ca: isInsecure ? null : dataOrFile(cluster, 'certificate-authority'),
      serverName: optionalText(cluster.fields, 'tls-server-name', place),
      isInsecure,
    },
    proxy: proxyUrl === null ? environmentProxy(server, settings) : parseProxy(proxyUrl, `proxy-url of ${place}`),
    credentials: credentialsOf(userOf(kubeconfig, context), cluster, settings),
  };
}

function environmentProxy(server: URL, { useProxy, env }: ClusterSettings): ProxyAddress | null {
  return useProxy ? proxyFromEnvironment(server, env) : null;
}

function contextOf(kubeconfig: Kubeconfig, wanted: string | null): Entry {
  const name = wanted ?? kubeconfig.currentContext;
  const names = [...kubeconfig.contexts.keys()];
  const files = kubeconfig.files.join(':');
  if (name === null) throw fault(files, `current-context is not set; choose one with --context: ${listed(names)}`);
  const context = kubeconfig.contexts.get(name);
  if (context !== undefined) return context;
  const near = nearest(name, names);
  const hint = near === null ? `there are ${listed(names)}` : `did you mean ${near}?`;
  throw fault(files, `there is no context ${JSON.stringify(name)}; ${hint}`);
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  const shown = names.slice(0, 8).join(', ');
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

function referred(entries: ReadonlyMap<string, Entry>, context: Entry, kind: 'cluster' | 'user'): Entry {
  const name = optionalText(context.fields, kind, context.file);
  const entry = name === null ? undefined : entries.get(name);
  if (entry !== undefined) return entry;
  const what = name === null ? `names no ${kind}` : `names the ${kind} ${JSON.stringify(name)}, which is not there`;
  throw fault(context.file, `context ${JSON.stringify(context.name)} ${what}`);
}

/** A context may do without a user: a proxy in front of the server may know us already. */
function userOf(kubeconfig: Kubeconfig, context: Entry): Entry | null {
  return optionalText(context.fields, 'user', context.file) === null
    ? null
    : referred(kubeconfig.users, context, 'user');
}

function serverOf(text: string | null, place: string): URL {
  const full = text?.includes('://') ? text : `https://${text}`;
  const url = text !== null && URL.canParse(full) ? new URL(full) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw fault(
      place,
      `server ${text === null ? 'is not set' : `${JSON.stringify(text)} is no http or https address`}`,
    );
  }
  return url;
}

async function inClusterAccess(settings: ClusterSettings, folder: string): Promise<ClusterAccess | null> {
  const { env } = settings;
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'] || '443';
  if (!host) return null;
  const read = async (name: string) => readFile(path.join(folder, name)).catch(() => null);
  const [token, ca, namespace] = await Promise.all([read('token'), read('ca.crt'), read('namespace')]);
  if (token === null) return null;
  const server = new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`);
  const isInsecure = settings.acceptInvalidCertificates ?? false;
  return {
    server,
    contextName: null,
    namespace: namespace?.toString().trim() || 'default',
    tls: { ca: isInsecure ? null : ca, serverName: null, isInsecure },
    proxy: environmentProxy(server, settings),
    credentials: tokenFileCredentials(path.join(folder, 'token')),
  };
}
