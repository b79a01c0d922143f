// `mirrord verify-config [--ide] [--resolved] PATH`: the verdict on a configuration as one line of JSON, for editors.
// The exit code is 0 for both verdicts.

import { AppError } from '#proto/errors.ts';
import type { ParsedArguments } from '../arguments.ts';
import { KINDS } from '../kube/kinds.ts';
import { exit, type Outcome, type Terminal } from '../terminal.ts';

/** Kinds of targets that can be chosen for a configuration. */
const TARGET_KINDS = ['pid', 'container', ...KINDS.map(({ kind }) => kind), 'label'];

export async function verifyConfig(args: ParsedArguments, terminal: Terminal): Promise<Outcome> {
  const [configFile, ...others] = args.words;
  if (configFile === undefined || others.length > 0) {
    throw new AppError('CONFIG_INVALID', 'one configuration is wanted: mirrord verify-config PATH');
  }
  const verdict = await verdictOn(configFile, args, terminal);
  terminal.out(`${JSON.stringify(verdict)}\n`);
  return exit(0);
}

async function verdictOn(configFile: string, args: ParsedArguments, { env, cwd }: Terminal): Promise<object> {
  const { loadConfig } = await import('../config/load.ts');
  try {
    const { config, warnings } = await loadConfig({ flags: args.overrides, configFile, env, cwd });
    const isFinal = args.flags['ide'] === undefined;
    if (isFinal && config.target.path === null) warnings.push('there is no target: mirrord exec wants one by --target');
    return {
      type: 'Success',
      config: { path: config.target.path, namespace: config.target.namespace },
      warnings,
      compatible_target_types: TARGET_KINDS,
      ...(args.flags['resolved'] === undefined ? {} : { resolved_config: resolved(config) }),
    };
  } catch (error) {
    const { data, message } = AppError.from(error, 'CONFIG_INVALID');
    const faults = data?.['faults'];
    return { type: 'Fail', errors: Array.isArray(faults) ? faults : [message] };
  }
}

/** Maps are lists of pairs inside, for the sake of their order. */
function resolved(config: object): object {
  return JSON.parse(
    JSON.stringify(config, (key, value: unknown) =>
      ['override', 'mapping'].includes(key) && Array.isArray(value) ? Object.fromEntries(value) : value,
    ),
  );
}
