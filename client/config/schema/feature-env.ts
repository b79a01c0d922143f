// feature.env: which of the target's variables the local process gets. What the rules mean is in client/environment.ts.

import { key, section, toggle } from './dsl.ts';
import { patternMap } from './patterns.ts';
import { bool, nameList, nonEmptyText, optional, textMap } from './values.ts';

export const featureEnv = section(
  "The environment: the target's variables go over the local ones. Order: target, env_file, mapping, override, unset.",
  {
    include: key(
      optional(nameList),
      null,
      'Only these variables of the target; `*` and `?` are wildcards. Brings back what is excluded by default.',
      {
        env: ['MIRRORD_OVERRIDE_ENV_VARS_INCLUDE'],
        flag: '--override-env-vars-include',
      },
    ),
    exclude: key(
      optional(nameList),
      null,
      'All variables of the target but these; `*` and `?` are wildcards. Not together with include.',
      {
        env: ['MIRRORD_OVERRIDE_ENV_VARS_EXCLUDE'],
        flag: '--override-env-vars-exclude',
      },
    ),
    override: key(textMap, [], "Variables with values of the user's own.", { isSecret: true }),
    unset: key(
      nameList,
      [],
      'Variables that the local process does not get, wherever they come from; upper and lower case are the same.',
    ),
    env_file: key(optional(nonEmptyText), null, "A dotenv file whose variables go over the target's.", {
      env: ['MIRRORD_OVERRIDE_ENV_VARS_FILE'],
      flag: '--env-file',
    }),
    mapping: key(
      patternMap,
      [],
      'Pattern of a name to the value that variables so named get; the first that matches.',
      {
        isSecret: true,
      },
    ),
    load_from_process: key(
      bool,
      false,
      'Accepted for configurations that set it. The variables are there before the local process starts, whoever starts it.',
      { env: ['MIRRORD_ENV_LOAD_FROM_PROCESS'] },
    ),
  },
  { shorts: [toggle({}, { exclude: ['*'] })] },
);
