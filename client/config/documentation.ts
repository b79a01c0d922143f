// docs/configuration.md: every key with its type, default, variable, flag and meaning. Made from the schema tree;
// scripts/export-config.mjs writes it.

import { statusNote } from './json-schema.ts';
import type { Key, Keys, Section, Status } from './schema/dsl.ts';
import { root } from './schema/root.ts';

const INTRODUCTION = `# Configuration

<!-- Made by scripts/export-config.mjs from client/config/schema. Do not edit. -->

\`mirrord exec -f FILE\` reads a configuration; \`-f\` alone reads \`./.mirrord/mirrord.json\`, \`-f -\` standard input, and the
variable \`MIRRORD_CONFIG_FILE\` names one without a flag. \`mirrord verify-config FILE\` checks one,
\`mirrord explain PATH\` tells what it means for a path.

- **Format** by the ending: \`.json\` or none (strict JSON), \`.toml\`, \`.yaml\`, \`.yml\`.
- **Precedence**: flag, then variable, then file, then default. In a variable, lists are separated by \`;\` and booleans
  are \`true\` or \`false\`.
- **Faults** are reported all at once, each with its place, what was found and what to do. An unknown key is a fault. So is
  a key that needs the operator, unless it holds a value that asks for nothing. Keys that can have no effect here give a
  warning that says why.
- **Lists** may be written as one value. The sections for which a short form is given may be written so.
- **Templates**: the text of a file is rendered before it is parsed: \`{{ get_env(name="X", default="y") }}\`,
  \`{{ key }}\` (the session's key), \`{{ git_branch }}\` (\`MIRRORD_BRANCH_NAME\`, else the branch checked out in the current
  folder), \`{% if … %}\`, \`{% for … %}\`, filters such as \`| default(value="x")\`, \`| lower\`, \`| replace(from="/", to="-")\`. An
  unknown variable is a fault. The file's own \`key\` is rendered first, without \`{{ key }}\`; a file that can only be parsed
  after it is rendered has a key that is made up while it is rendered.
- **Patterns** are regular expressions in Rust's syntax with look-around and back-references, matched anywhere in the text. Those of
  \`http_filter\` are RE2's, which has neither: the agent must take linear time.
  Patterns of paths take upper and lower case as the same unless they begin with \`(?-i)\`, and a dot is every character;
  patterns of variable names take them as different unless they begin with \`(?i)\`. \`\\d\`, \`\\w\` and \`\\s\` know ASCII only.
  Refused: flags inside a pattern, classes inside classes, possessive and atomic groups.

## Environment: which variables, in which order

The target's variables, but those about the machine and its runtimes (\`PATH\`, \`HOME\`, \`PWD\`, \`JAVA_HOME\`, \`PYTHONPATH\`,
\`GOPATH\`, \`GEM_*\`, \`BUNDLE_*\` and the like), then \`env_file\`, then \`mapping\`, then \`override\`; the result goes over the local
variables, and \`unset\` removes names from all of it. An \`include\` that names such a variable, or describes it by a wildcard
other than the bare \`*\`, brings it back. A variable whose value is not UTF-8 cannot be passed on: it is left out, the
local one of the same name too, and a warning names it.

## Files: what decides about a path

The first of these that says something: relative paths are local, but for \`not_found\`; \`mapping\` replaces the path; mode
\`local\`; \`not_found\`; \`read_write\`; \`read_only\` (reads in the target, writes here); \`local\`; the default lists (credentials
of clusters and clouds in the home directory do not exist; \`/etc/resolv.conf\`, \`/etc/hosts\`, \`/etc/hostname\` and
\`/etc/ssl/certs\` are read in the target; system directories, program files, the working directory with the folders above it, and temporary files
are local); the mode. All calls that change a path count as writes: creating, removing, renaming, linking, and
changing of mode, owner, times or size. With mode \`local\` nothing is looked at, and the patterns have no effect.
`;

export function documentation(): string {
  const lines = [INTRODUCTION];
  describeSection(root, '', null, lines);
  return `${lines.join('\n').trimEnd()}\n`;
}

function describeSection(node: Section<Keys>, path: string, inherited: Status | null, lines: string[]): void {
  const status = node.status ?? inherited;
  lines.push(`## ${path === '' ? 'Top level' : `\`${path}\``}`, '', node.doc);
  const note = statusNote(node.status);
  if (note !== '') lines.push('', note);
  if (node.shorts.length > 0) lines.push('', `Short forms: ${node.shorts.map((short) => short.doc).join('; ')}.`);
  const keys = Object.entries(node.keys);
  const rows = keys.flatMap(([name, child]) => (child.node === 'key' ? [row(name, child, node.status)] : []));
  if (rows.length > 0)
    lines.push('', '| key | type | default | variable, flag | meaning |', '|---|---|---|---|---|', ...rows);
  lines.push('');
  for (const [name, child] of keys) {
    if (child.node === 'section') describeSection(child, path === '' ? name : `${path}.${name}`, status, lines);
  }
}

function row(name: string, node: Key<unknown>, ofSection: Status | null): string {
  const status = node.status === ofSection ? null : node.status;
  const names = [...new Set(node.env.map((one) => (typeof one === 'string' ? one : one.name)))];
  if (node.flag !== null) names.push(node.flag);
  const meaning = [node.doc, statusNote(status)].filter((part) => part !== '').join(' ');
  const cells = [code(name), node.type.name, defaultOf(node), names.map(code).join(' '), meaning];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

function defaultOf(node: Key<unknown>): string {
  const isNothing = node.default === null || (Array.isArray(node.default) && node.default.length === 0);
  return isNothing ? '–' : code(typeof node.default === 'string' ? node.default : JSON.stringify(node.default));
}

function code(text: string): string {
  return `\`${text}\``;
}
