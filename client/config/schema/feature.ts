// feature: what of the target the local process gets.

import { key, noEffect, operatorOnly, section, toggle } from './dsl.ts';
import { featureEnv } from './feature-env.ts';
import { featureFs } from './feature-fs.ts';
import { featureNetwork } from './feature-network.ts';
import { anything, bool, integer, nonEmptyText, optional, textList, textMap, u32 } from './values.ts';

export const feature = section('What the local process has of the target.', {
  env: featureEnv,
  fs: featureFs,
  network: featureNetwork,
  hostname: key(bool, true, "gethostname(2) and uname(2) give the target's name."),
  magic: section('Small things that are right for most.', {
    aws: key(
      bool,
      true,
      "The AWS identity is the target's: AWS_PROFILE is unset and ~/.aws looked for in the temporary directory.",
    ),
    auto_mount: key(
      bool,
      true,
      "With `fs.mode` `localwithoverrides`, what is mounted in the target's container is read there as if `fs.read_only` named it, but what `fs.local` names and what holds the home, working or temporary folder. With other modes it is read there anyway.",
    ),
    turbo: key(bool, false, 'Next.js connects to this machine as itself.', {
      status: noEffect('what the local process or a child of it listens on is reached here, whatever the program'),
    }),
  }),
  copy_target: section(
    'Run against a copy of the target.',
    {
      enabled: key(bool, false, 'Copy it.'),
      scale_down: key(bool, false, 'Scale the original down.'),
      exclude_containers: key(textList, [], 'Containers left out.'),
      exclude_init_containers: key(textList, [], 'Init containers left out.'),
    },
    { status: operatorOnly, shorts: [toggle({ enabled: true }, { enabled: false })] },
  ),
  split_queues: key(optional(anything()), null, 'Share message queues with the target.', {
    status: operatorOnly,
    accepts: [false],
  }),
  db_branches: key(optional(anything()), null, 'Branches of databases.', { status: operatorOnly, accepts: [false] }),
  preview: section(
    'Preview environments.',
    {
      image: key(optional(nonEmptyText), null, 'Image.'),
      ttl_mins: key(optional(anything({ type: ['integer', 'string'] })), null, 'Minutes of life.'),
      ttl_secs: key(optional(anything({ type: ['integer', 'string'] })), null, 'Seconds of life.'),
      creation_timeout_secs: key(u32, 60, 'Seconds for its creation.'),
      replicas: key(integer(0, 65_535), 1, 'Replicas.'),
      labels: key(optional(textMap), null, 'Labels.'),
      idle: key(optional(anything()), null, 'What happens when nobody uses it.'),
      config_mounts: key(optional(anything()), null, 'Mounted configuration.'),
      secret_mounts: key(optional(anything()), null, 'Mounted secrets.'),
    },
    { status: operatorOnly },
  ),
});
