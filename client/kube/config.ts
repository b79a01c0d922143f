// Which cluster, as whom, and how it is reached: kubeconfig or the pod we run in, the choice of a context, and the settings
// that win over both.

import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { type Cluster, type Context, KubeConfig, type User } from '@kubernetes/client-node';
import { AppError } from '#proto/errors.ts';
import { nearest } from '../config/nearest.ts';
import { fault, type Kubeconfig, optionalText, readKubeconfig, requireFile } from './kubeconfig.ts';
import { Login } from './login.ts';
import { type ProxyAddress, parseProxy, proxyAddressText, proxyFromEnvironment } from './proxy.ts';

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

export interface ClusterAccess {
  readonly server: URL;
  /** null inside a pod. */
  readonly contextName: string | null;
  /** Of the context; `default` where it names none. */
  readonly namespace: string;
  /** Whoever answers is trusted. */
  readonly isInsecure: boolean;
  readonly proxy: ProxyAddress | null;
  readonly login: Login;
}

/** Mounted into every pod that has a service account (Kubernetes: "Accessing the API from a Pod"). */
const IN_CLUSTER_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** Throws CONFIG_INVALID that names the file, the context and what is wrong there. Asks nobody. `root`: of a pod's files. */
export async function loadClusterAccess(settings: ClusterSettings, root = ''): Promise<ClusterAccess> {
  const files = filesOf(settings);
  const kubeconfig = await readKubeconfig(files.paths);
  if (kubeconfig === null || (kubeconfig.kube.contexts.length === 0 && !files.isExplicit)) {
    const inCluster = files.isExplicit ? null : inClusterAccess(settings, root);
    if (inCluster !== null) return inCluster;
    throw noCluster(files, kubeconfig !== null);
  }
  return fromKubeconfig(kubeconfig, settings);
}

/** Of every file that would be read; empty where there is none. */
export async function contextNames(settings: Pick<ClusterSettings, 'kubeconfig' | 'env'>): Promise<string[]> {
  const kubeconfig = await readKubeconfig(filesOf(settings).paths);
  return kubeconfig === null ? [] : kubeconfig.kube.contexts.map(({ name }) => String(name));
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
  const cluster = clusterOf(kubeconfig, context);
  const user = userOf(kubeconfig, context);
  const namespace = optionalText(context, 'namespace', kubeconfig.fileOf(context));
  const entry = { cluster, more: kubeconfig.moreOf(cluster), file: kubeconfig.fileOf(cluster) };
  const userEntry = user === null ? null : { user, more: kubeconfig.moreOf(user), file: kubeconfig.fileOf(user) };
  return accessOf({ contextName: context.name, namespace: namespace ?? 'default', entry, userEntry }, settings);
}

interface Found {
  readonly contextName: string | null;
  readonly namespace: string;
  readonly entry: {
    readonly cluster: Cluster;
    readonly more: Readonly<Record<string, unknown>>;
    readonly file: string;
  };
  readonly userEntry: ConstructorParameters<typeof Login>[1];
}

/** What the settings say goes into the cluster that the library is given. */
function accessOf({ contextName, namespace, entry, userEntry }: Found, settings: ClusterSettings): ClusterAccess {
  const { name, caData, caFile } = entry.cluster;
  const place = `${entry.file}, cluster ${JSON.stringify(name)}`;
  for (const text of ['caData', 'caFile', 'tlsServerName'] as const) optionalText(entry.cluster, text, place);
  const server = serverOf(entry.cluster.server, place);
  const proxyUrl = optionalText(entry.cluster, 'proxyUrl', place);
  const proxy = proxyUrl === null ? environmentProxy(server, settings) : parseProxy(proxyUrl, `proxy-url of ${place}`);
  const isInsecure = settings.acceptInvalidCertificates ?? entry.cluster.skipTLSVerify;
  if (!isInsecure && !caData) requireFile(caFile, 'certificate-authority', place);
  const { tlsServerName } = entry.cluster;
  const cluster: Cluster = {
    name,
    server: server.href.replace(/\/$/, ''),
    // It wants this said of whatever goes without TLS.
    skipTLSVerify: isInsecure || server.protocol === 'http:',
    ...(isInsecure ? {} : caData ? { caData } : caFile ? { caFile } : {}),
    ...(tlsServerName ? { tlsServerName } : {}),
    ...(proxy === null ? {} : { proxyUrl: proxyAddressText(proxy) }),
  };
  const login = new Login({ ...entry, cluster }, userEntry, settings);
  return { server, contextName, namespace, isInsecure, proxy, login };
}

function environmentProxy(server: URL, { useProxy, env }: ClusterSettings): ProxyAddress | null {
  return useProxy ? proxyFromEnvironment(server, env) : null;
}

function contextOf({ kube, files }: Kubeconfig, wanted: string | null): Context {
  const name = wanted ?? optionalText(kube, 'currentContext', files.join(':'));
  const names = kube.contexts.map((context) => String(context.name));
  if (name === null && names.length === 0) throw fault(files.join(':'), 'it names no context, and so no cluster');
  if (name === null) {
    throw fault(files.join(':'), `current-context is not set; choose one with --context: ${listed(names)}`);
  }
  const context = kube.getContextObject(name);
  if (context !== null) return context;
  const near = nearest(name, names);
  const hint = near === null ? `there are ${listed(names)}` : `did you mean ${near}?`;
  throw fault(files.join(':'), `there is no context ${JSON.stringify(name)}; ${hint}`);
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  const shown = names.slice(0, 8).join(', ');
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

function clusterOf({ kube, fileOf }: Kubeconfig, context: Context): Cluster {
  const cluster = kube.getCluster(context.cluster);
  if (cluster !== null) return cluster;
  const what = `names the cluster ${JSON.stringify(context.cluster)}, which is not there or has no server`;
  throw fault(fileOf(context), `context ${JSON.stringify(context.name)} ${what}`);
}

/** A context may do without a user: a proxy in front of the server may know us already. */
function userOf({ kube, fileOf }: Kubeconfig, context: Context): User | null {
  if (!context.user) return null;
  const user = kube.getUser(context.user);
  if (user !== null) return user;
  const what = `names the user ${JSON.stringify(context.user)}, which is not there`;
  throw fault(fileOf(context), `context ${JSON.stringify(context.name)} ${what}`);
}

function serverOf(text: string, place: string): URL {
  const full = text.includes('://') ? text : `https://${text}`;
  const url = URL.canParse(full) ? new URL(full) : null;
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  throw fault(place, `server ${JSON.stringify(text)} is no http or https address`);
}

function inClusterAccess(settings: ClusterSettings, root: string): ClusterAccess | null {
  if (!settings.env['KUBERNETES_SERVICE_HOST'] || !existsSync(root + IN_CLUSTER_TOKEN)) return null;
  const kube = new KubeConfig();
  kube.loadFromCluster(root);
  const [cluster, user] = [kube.getCurrentCluster(), kube.getCurrentUser()];
  if (cluster === null || user === null) return null;
  const namespace = kube.getContextObject(kube.currentContext)?.namespace?.trim() || 'default';
  const [file, more] = ['the service account of this pod', {}];
  const found = { contextName: null, namespace, entry: { cluster, more, file }, userEntry: { user, more, file } };
  return accessOf(found, settings);
}
