// What the target's node can do for an agent, and whether the namespace of the agent lets it in.

import type { KubeApi } from '../kube/api.ts';
import type { ObjectMeta } from '../kube/objects.ts';
import { isStatus } from '../kube/status.ts';
import type { Finding } from './doctor-finding.ts';
import { isOlder } from './doctor-local.ts';

interface Node {
  readonly spec?: { readonly unschedulable?: boolean };
  readonly status?: {
    readonly nodeInfo?: {
      readonly kernelVersion?: string;
      readonly osImage?: string;
      readonly operatingSystem?: string;
      readonly architecture?: string;
      readonly containerRuntimeVersion?: string;
    };
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly images?: readonly { readonly names?: readonly string[] }[];
  };
}

/** openat2, without which no file of the target is served. */
const OLDEST_FOR_FILES = [5, 6] as const;
/** sk_lookup. */
const OLDEST_FOR_REDIRECT = [5, 9] as const;
/** The kubelet reports no more than this many (nodeStatusMaxImages). */
const MAX_REPORTED_IMAGES = 50;
const ENFORCE = 'pod-security.kubernetes.io/enforce';

export async function examineNode(api: KubeApi, name: string, image: string): Promise<Finding[]> {
  try {
    return judgeNode(name, await api.get<Node>(`/api/v1/nodes/${encodeURIComponent(name)}`), image);
  } catch (error) {
    if (!isStatus(error, 403) && !isStatus(error, 404)) throw error;
    const what = `node ${name} cannot be looked at: kernel and images are not known`;
    return [{ area: 'target', level: 'unknown', what, advice: 'who may get nodes sees more; a session does without.' }];
  }
}

/** Pure. */
export function judgeNode(name: string, { status = {} }: Node, image: string): Finding[] {
  const { kernelVersion = '', operatingSystem = '', architecture = '', osImage = '' } = status.nodeInfo ?? {};
  const findings: Finding[] = [];
  const add = (level: Finding['level'], what: string, advice?: string) =>
    findings.push({ area: 'target', level, what, ...(advice === undefined ? {} : { advice, move: 'admin' as const }) });
  if (operatingSystem !== '' && operatingSystem !== 'linux') {
    add('fail', `node ${name} runs ${operatingSystem}`, 'choose a target on a Linux node.');
    return findings;
  }
  if (architecture !== '' && architecture !== 'amd64') {
    add('warn', `node ${name} is ${architecture}`, 'the agent’s image must have been built for it.');
  }
  const where = `node ${name} (Linux ${kernelVersion}, ${osImage})`;
  if (kernelVersion === '') add('unknown', `node ${name} does not tell its kernel`);
  else if (isOlder(kernelVersion, OLDEST_FOR_FILES)) {
    add(
      'fail',
      `${where} is too old for files of the target`,
      `a kernel from ${OLDEST_FOR_FILES.join('.')} on has openat2.`,
    );
  } else if (isOlder(kernelVersion, OLDEST_FOR_REDIRECT)) {
    add(
      'warn',
      `${where} redirects by nf_tables or ip_tables`,
      `from ${OLDEST_FOR_REDIRECT.join('.')} on the kernel itself undoes a redirect.`,
    );
  } else add('ok', `${where} has what the agent needs`);
  if (status.conditions?.some(({ type, status: value }) => type === 'Ready' && value !== 'True')) {
    add('warn', `node ${name} is not ready`, 'its pods answer slowly or not at all.');
  }
  return [...findings, judgeImage(name, status.images ?? [], image)];
}

function judgeImage(node: string, images: NonNullable<Node['status']>['images'] & object, image: string): Finding {
  const names = images.flatMap(({ names: own = [] }) => own);
  const area = 'target';
  if (names.some((name) => isSameImage(name, image))) {
    return { area, level: 'ok', what: `image ${image} is on node ${node} already` };
  }
  if (images.length >= MAX_REPORTED_IMAGES) {
    return {
      area,
      level: 'unknown',
      what: `node ${node} does not tell all its images; ${image} may have to be pulled`,
    };
  }
  const what = `image ${image} is not on node ${node}: the first session pulls it`;
  return {
    area,
    level: 'warn',
    what,
    advice: 'agent.image names another registry, agent.image_pull_secrets its secret.',
    move: 'user',
  };
}

/** The runtime writes names in full: `docker.io/library/x:latest` is `x`. */
function isSameImage(full: string, image: string): boolean {
  const tagged = /[:@][^/]+$/.test(image) ? image : `${image}:latest`;
  return full === tagged || full === `docker.io/${tagged}` || full === `docker.io/library/${tagged}`;
}

interface Namespace {
  readonly metadata: ObjectMeta;
}

/** An agent shares the node's process ids, which the stricter Pod Security Standards forbid. */
export async function examineNamespace(api: KubeApi, name: string): Promise<Finding[]> {
  try {
    const { metadata } = await api.get<Namespace>(`/api/v1/namespaces/${encodeURIComponent(name)}`);
    const enforced = metadata.labels?.[ENFORCE];
    if (enforced === undefined || enforced === 'privileged') return [];
    const what = `namespace ${name} enforces the Pod Security Standard ${enforced}: the agent’s pod will be refused there`;
    const advice = `set agent.namespace to one that is labelled ${ENFORCE}=privileged.`;
    return [{ area: 'rights', level: 'fail', what, advice, move: 'user' }];
  } catch (error) {
    if (isStatus(error, 403)) return [];
    if (!isStatus(error, 404)) throw error;
    const what = `namespace ${name} does not exist`;
    return [{ area: 'rights', level: 'fail', what, advice: 'correct the name, or create it.', move: 'user' }];
  }
}
