// Why a cluster does not let the agent's pod be: a right that is missing, or a rule that forbids such pods; in whose words, and
// what to do about it. Pure.

import { AppError } from '#proto/errors.ts';
import { StatusError } from '../kube/status.ts';

const ROLE =
  'ask for the Role of deploy/role.yaml (docs/kubernetes.md); `mirrord doctor` lists the rights that are missing.';
const WITHOUT_E = 'leave -e (agent.ephemeral) away and ';

/** A refusal of the API server while the agent is made or reached, as an error that says which rule it was. `targetPod`: with -e. */
export function explainRefusal(error: unknown, namespace: string, targetPod: string | null = null): AppError {
  if (!(error instanceof StatusError)) return AppError.from(error, 'SERVICE_UNAVAILABLE');
  return explainWords(error.serverMessage, namespace, error, targetPod) ?? error;
}

/** The words of the API server, or of an event in which a controller repeats them; null where they are of no known rule. */
function explainWords(
  words: string,
  namespace: string,
  cause?: unknown,
  targetPod: string | null = null,
): AppError | null {
  const agent = targetPod === null ? "the agent's pod" : `the agent in pod ${targetPod}`;
  const right = /cannot (\w+) resource "([^"]+)"(?: in API group "([^"]*)")?/.exec(words);
  if (right !== null) {
    const [, verb, resource, group] = right;
    const what = group ? `${resource}.${group}` : resource;
    return refused('NOT_PERMITTED', `you may not ${verb} ${what} in namespace ${namespace}`, ROLE, cause);
  }
  if (/violates PodSecurity|PodSecurityPolicy|unable to validate against any pod security policy/.test(words)) {
    return refused(
      'NOT_PERMITTED',
      `namespace ${namespace} forbids ${agent} by its pod security rules: ${words}`,
      `${targetPod === null ? '' : WITHOUT_E}let the agent run in another namespace (agent.namespace), whose label ` +
        'pod-security.kubernetes.io/enforce is privileged; docs/kubernetes.md says what each of its containers needs and why.',
      cause,
    );
  }
  if (/because it is being terminated/.test(words)) {
    const what = `namespace ${namespace} is being deleted, and takes no agent`;
    return refused('NOT_PERMITTED', what, 'wait until it is there again, or name another one.', cause);
  }
  if (/(?:maximum|minimum) .* per (?:Container|Pod)|limit to request ratio/.test(words)) {
    return refused(
      'LIMIT_REACHED',
      `the agent's containers do not fit the LimitRange of namespace ${namespace}: ${words}`,
      'set agent.resources to what it allows, or let the agent run in another namespace (agent.namespace).',
      cause,
    );
  }
  const named = /no PriorityClass with name|serviceaccounts? "[^"]*" not found|error looking up service account/.exec(
    words,
  )?.[0];
  if (named !== undefined) {
    const key = named.includes('Priority') ? 'agent.priority_class' : 'agent.service_account';
    const what = `the cluster has not what ${key} names: ${words}`;
    return new AppError('CONFIG_INVALID', what, { cause, data: { move: 'user', advice: `correct ${key}.` } });
  }
  if (/exceeded quota|must specify/.test(words)) {
    return refused(
      'LIMIT_REACHED',
      `namespace ${namespace} has no room for the agent's pod: ${words}`,
      'raise the quota, let the agent run in another namespace (agent.namespace), or ask for less (agent.resources).',
      cause,
    );
  }
  if (/admission webhook|denied the request|denied by/.test(words)) {
    return refused(
      'NOT_PERMITTED',
      `a policy of the cluster forbids ${agent} in namespace ${namespace}: ${words}`,
      `show the policy named above to whoever runs the cluster, or ${targetPod === null ? '' : WITHOUT_E}let the agent run in a ` +
        'namespace that it exempts (agent.namespace).',
      cause,
    );
  }
  return null;
}

/** Words of a controller that did not reach the API server, or found it busy: it tries again by itself. */
export function isOfPassingTrouble(words: string): boolean {
  return /^Error creating: (?:\w+ "?https?:\/\/|etcdserver:|Timeout:|the server is currently unable)/.test(words);
}

/** Of a pod that a controller cannot make, for whatever reason it names. */
export function explainFailedCreate(words: string, namespace: string): AppError {
  const advice =
    'the words above name the rule: show them to whoever runs the cluster, or let the agent run in another namespace (agent.namespace).';
  const what = `the cluster makes no pod for the agent in namespace ${namespace}: ${words}`;
  return explainWords(words, namespace) ?? refused('NOT_PERMITTED', what, advice, undefined);
}

function refused(code: 'NOT_PERMITTED' | 'LIMIT_REACHED', message: string, advice: string, cause: unknown): AppError {
  return new AppError(code, message, { cause, data: { move: 'admin', advice } });
}
