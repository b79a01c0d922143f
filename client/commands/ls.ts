// `mirrord ls`: what can be targeted, as it comes from the cluster. Text for people, `-o name` for the shell, `-o json` in the
// form that editors know.

import { setFlagsFromString } from 'node:v8';
import { AppError } from '#proto/errors.ts';
import type { ParsedArguments } from '../arguments.ts';
import type { Config } from '../config/schema/root.ts';
import { findKind, KINDS, type Kind } from '../kube/kinds.ts';
import { type Listed, listTargets } from '../kube/listing.ts';
import type { StatusError } from '../kube/status.ts';
import { printable } from '../printable.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';

type Format = 'text' | 'name' | 'json';

/** What a person looks for first; replica sets are their deployments'. */
const KINDS_FOR_PEOPLE: readonly Kind[] = [
  'deployment',
  'statefulset',
  'daemonset',
  'rollout',
  'service',
  'cronjob',
  'job',
  'pod',
];
/** The order that editors expect begins with these. */
const KINDS_FOR_EDITORS: readonly Kind[] = [
  'pod',
  'deployment',
  'rollout',
  'statefulset',
  'daemonset',
  'service',
  'cronjob',
  'job',
];
const PATH_WIDTH = 40;

export async function ls(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const [stray] = args.words;
  if (stray !== undefined) {
    throw new AppError('CONFIG_INVALID', `ls takes no ${JSON.stringify(stray)}: --target-type and --selector choose`);
  }
  const format = formatOf(args);
  const isRich = format === 'json' && terminal.env['MIRRORD_LS_RICH_OUTPUT'] === 'true';
  const kinds = kindsOf(args, terminal.env, format);
  // Page after page is read and forgotten: a heap that is kept small takes 85 MB for 10,000 pods of all namespaces, and 104 else.
  setFlagsFromString('--optimize-for-size');
  const { openCluster } = await import('./cluster.ts');
  const { api, config } = await openCluster(args, terminal);
  try {
    const namespace = namespaceOf(args, config) ?? api.access.namespace;
    const isOfAll = args.flags['all-namespaces'] !== undefined;
    const listed = listTargets({
      api,
      namespace: isOfAll ? null : namespace,
      kinds: kinds.list,
      selector: typeof args.flags['selector'] === 'string' ? args.flags['selector'] : null,
      onRefused: (kind, error) => warn(terminal, kind, error, kinds.isAsked),
    });
    const print = printerOf(format, isRich, isOfAll, terminal);
    for await (const page of listed) {
      print.page(page);
      if (terminal.isOutGone === true) break;
    }
    print.end(isRich ? { current_namespace: namespace, namespaces: await namespaceNames(api, namespace) } : {});
    return exit(0);
  } finally {
    await api.close();
  }
}

function formatOf({ flags }: ParsedArguments): Format {
  const output = flags['json'] === undefined ? flags['output'] : (flags['output'] ?? 'json');
  if (output === undefined) return 'text';
  if (output === 'json' || output === 'name') return output;
  throw new AppError('CONFIG_INVALID', `--output is ${JSON.stringify(output)}; it must be json or name`);
}

function kindsOf(
  { flags }: ParsedArguments,
  env: NodeJS.ProcessEnv,
  format: Format,
): { list: Kind[]; isAsked: boolean } {
  const flag = flags['target-type'];
  const words = typeof flag === 'string' ? flag.split(',') : kindsOfVariable(env['MIRRORD_LS_TARGET_TYPES']);
  if (words === null) return { list: [...(format === 'json' ? KINDS_FOR_EDITORS : KINDS_FOR_PEOPLE)], isAsked: false };
  const list = words.map((word) => {
    const row = findKind(word.trim());
    if (row !== null) return row.kind;
    const known = KINDS.map(({ kind }) => kind).join(', ');
    throw new AppError('CONFIG_INVALID', `${JSON.stringify(word)} is no kind of target; there are ${known}`);
  });
  return { list: [...new Set(list)], isAsked: true };
}

/** A JSON list, as editors give it. */
function kindsOfVariable(text: string | undefined): string[] | null {
  if (!text) return null;
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value) && value.every((word) => typeof word === 'string')) return value;
  } catch {
    // Said below.
  }
  throw new AppError(
    'CONFIG_INVALID',
    'MIRRORD_LS_TARGET_TYPES is no JSON list of texts, such as ["pod", "deployment"]',
  );
}

function namespaceOf({ flags }: ParsedArguments, config: Config): string | null {
  if (flags['all-namespaces'] === undefined) return config.target.namespace;
  if (flags['namespace'] !== undefined) {
    throw new AppError('CONFIG_INVALID', '--namespace and --all-namespaces exclude each other');
  }
  return null;
}

/** A kind that the cluster does not have, or may not have, is worth a word only where it was asked for. */
function warn(terminal: Terminal, kind: Kind, error: StatusError, isAsked: boolean): void {
  if (!isAsked && (error.httpStatus === 404 || kind === 'rollout')) return;
  const what = error.httpStatus === 404 ? 'the cluster has none' : error.serverMessage;
  terminal.err(printable(`mirrord: no ${kind}s are listed: ${what}\n`));
}

interface Printer {
  page(listed: readonly Listed[]): void;
  /** `rest`: more keys of the rich form. */
  end(rest: object): void;
}

const pathOf = ({ kind, name }: Listed) => `${kind}/${name}`;

function printerOf(format: Format, isRich: boolean, isOfAll: boolean, terminal: Terminal): Printer {
  if (format === 'json') return jsonPrinter(isRich, isOfAll, terminal);
  if (format === 'name') {
    // Under another namespace a path leads nowhere without it.
    const line = (listed: Listed) => printable(`${isOfAll ? `${listed.namespace} ` : ''}${pathOf(listed)}\n`);
    return { page: (listed) => terminal.out(listed.map(line).join('')), end: () => {} };
  }
  let isEmpty = true;
  const line = ({ namespace, state, node, ...listed }: Listed) => {
    const place = isOfAll ? `${namespace.padEnd(20)} ` : '';
    const path = pathOf({ namespace, state, node, ...listed });
    return printable(`${place}${path.padEnd(PATH_WIDTH)} ${state}${node === null ? '' : ` on ${node}`}\n`);
  };
  return {
    page: (listed) => {
      isEmpty &&= listed.length === 0;
      terminal.out(listed.map(line).join(''));
    },
    end: () => {
      if (isEmpty) terminal.err('mirrord: nothing that runs can be targeted here; -n or -A looks elsewhere\n');
    },
  };
}

/** One text of JSON, written as it comes. */
function jsonPrinter(isRich: boolean, isOfAll: boolean, terminal: Terminal): Printer {
  let separator = isRich ? '{"targets":[' : '[';
  return {
    page: (listed) => {
      for (const target of listed) {
        const path = pathOf(target);
        const item = isRich
          ? { path, available: true, ...(isOfAll ? { namespace: target.namespace } : {}) }
          : isOfAll
            ? { path, namespace: target.namespace }
            : path;
        terminal.out(`${separator}${JSON.stringify(item)}`);
        separator = ',';
      }
    },
    end: (rest) => {
      const begun = separator === ',' ? '' : separator;
      const tail = Object.entries(rest).map(([key, value]) => `,${JSON.stringify(key)}:${JSON.stringify(value)}`);
      terminal.out(`${begun}]${isRich ? `${tail.join('')}}` : ''}\n`);
    },
  };
}

/** For editors' choice of namespace; only their own where it may not be asked. */
async function namespaceNames(api: import('../kube/api.ts').KubeApi, current: string): Promise<readonly string[]> {
  const { firstNames } = await import('../kube/names.ts');
  const { StatusError: Refusal } = await import('../kube/status.ts');
  try {
    return await firstNames(api, '/api/v1/namespaces', 5_000);
  } catch (error) {
    if (error instanceof Refusal && error.httpStatus === 403) return [current];
    throw error;
  }
}
