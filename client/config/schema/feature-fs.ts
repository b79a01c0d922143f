// feature.fs: which files are the target's. What the rules mean is in client/file-rules/.

import { type EnvName, key, section, textFor, toggle } from './dsl.ts';
import { patternList, patternMap } from './patterns.ts';
import { integer, oneOf } from './values.ts';

/** Larger windows only cost memory and time on the first read. */
const MAX_BUFFER_BYTES = 15 << 20;

const words = oneOf('local', 'localwithoverrides', 'read', 'write');
/** The flag writes one of them with dashes. */
const modes = { ...words, fromText: (text: string) => (text === 'local-with-overrides' ? 'localwithoverrides' : text) };

function legacy(name: string, meaning: Readonly<Record<string, string>>): EnvName {
  return {
    name,
    isLegacy: true,
    read: (text) => (text === 'true' || text === 'false' ? meaning[text] : text),
  };
}

export const featureFs = section(
  'Files: which paths are opened in the target. Patterns are regular expressions, unanchored, upper and lower case the same.',
  {
    mode: key(modes, 'read', 'What holds for a path that no pattern and no default list decides.', {
      env: [
        'MIRRORD_FILE_MODE',
        legacy('MIRRORD_FILE_OPS', { true: 'write' }),
        legacy('MIRRORD_FILE_RO_OPS', { true: 'read', false: 'local' }),
        legacy('MIRRORD_FILE_OPS', { false: 'local' }),
      ],
      flag: '--fs-mode',
    }),
    read_write: key(patternList, [], 'Paths read and written in the target.', {
      env: ['MIRRORD_FILE_READ_WRITE_PATTERN'],
    }),
    read_only: key(patternList, [], 'Paths read in the target and written here.', {
      env: ['MIRRORD_FILE_READ_ONLY_PATTERN'],
    }),
    local: key(patternList, [], 'Paths that stay here.', { env: ['MIRRORD_FILE_LOCAL_PATTERN'] }),
    not_found: key(patternList, [], 'Paths that do not exist for the local process.'),
    mapping: key(
      patternMap,
      [],
      'Pattern of a path to what its match is replaced by (`$1` for its first group), before anything else is decided; the first that matches.',
    ),
    readonly_file_buffer: key(
      integer(0, MAX_BUFFER_BYTES),
      128_000,
      'Bytes up to which a file opened for reading comes whole with the answer to open; 0 for never.',
    ),
  },
  { shorts: [toggle({}, { mode: 'local' }), textFor('mode', modes.json)] },
);
