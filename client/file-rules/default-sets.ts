// The lists that hold where the user's patterns say nothing. All of them are plain comparisons, so that a program whose
// files are local never waits for the client.

import { RuleOp, RuleVerdict } from '#proto/wire.ts';

/** What the lists depend on. */
export interface RuleContext {
  /** Home directory, '' where there is none. */
  home: string;
  /** Where the local process starts. */
  cwd: string;
  /** Directory of temporary files. */
  tmp: string;
  /** Absolute path of the program that is started, '' where it is not known. */
  executable: string;
}

export interface DefaultRule {
  readonly op: RuleOp;
  readonly text: string;
  readonly verdict: RuleVerdict;
  readonly readsOnly: boolean;
  readonly set: string;
}

/** Directories whose files belong to this machine's system and programs, each with everything below it. */
const LOCAL_DIRECTORIES = [
  '/proc',
  '/sys',
  '/lib',
  '/etc',
  '/usr',
  '/home',
  '/bin',
  '/sbin',
  '/dev',
  '/opt',
  '/tmp',
  '/var/tmp',
  '/var/db/timezone/zoneinfo',
  '/snap',
  '/run',
  '/selinux',
  '/nix',
];

/** Code and its configuration: what a runtime loads of the program that is developed here. */
const LOCAL_ENDINGS = [
  '.so',
  '.sh',
  '.rb',
  '.d',
  '.pyc',
  '.py',
  '.jar',
  '.class',
  '.js',
  '.pth',
  '.plist',
  '.pdb',
  '.dll',
  'venv.cfg',
  'jvm.cfg',
  '/package.json',
  '/.yarnrc',
  '/.yarnrc.yml',
  '/.yarnrc.json',
  '.tool-versions',
];

/** The second is .NET's diagnostic socket. */
const LOCAL_PARTS = ['/node_modules', 'clr-debug-pipe-', '.asdf/'];

/** How the target's network looks to its programs. */
const REMOTE_FILES = ['/etc/resolv.conf', '/etc/hosts', '/etc/hostname'];
const REMOTE_DIRECTORIES = ['/etc/ssl/certs'];

/** Credentials of the developer for clusters and clouds: the local process must not act with them by accident. */
const NOT_FOUND_IN_HOME = ['/.config/gcloud', '/.kube', '/.azure'];

/** In the order in which they decide. */
export function defaultRules(context: RuleContext): DefaultRule[] {
  const rules: DefaultRule[] = [];
  const add = (verdict: RuleVerdict, set: string, op: RuleOp, texts: readonly string[], readsOnly = false) => {
    for (const text of texts) rules.push({ op, text, verdict, readsOnly, set });
  };
  const home = withoutSlash(context.home);
  if (home !== '') {
    const paths = NOT_FOUND_IN_HOME.map((path) => home + path);
    add(RuleVerdict.NOT_FOUND, 'default not-found list', RuleOp.PREFIX, paths);
  }
  add(RuleVerdict.REMOTE, 'default read-only list', RuleOp.EXACT, REMOTE_FILES, true);
  add(RuleVerdict.REMOTE, 'default read-only list', RuleOp.DIR, REMOTE_DIRECTORIES, true);
  const local = (op: RuleOp, texts: readonly string[], set = 'default local list') =>
    add(RuleVerdict.LOCAL, set, op, texts);
  local(RuleOp.EXACT, ['/']);
  local(RuleOp.DIR, LOCAL_DIRECTORIES);
  local(RuleOp.PREFIX, ['/Program Files']);
  local(RuleOp.SUFFIX, LOCAL_ENDINGS);
  local(RuleOp.CONTAINS, LOCAL_PARTS);
  const tmp = withoutSlash(context.tmp);
  if (tmp !== '') local(RuleOp.PREFIX, [tmp], 'directory of temporary files');
  const cwd = withoutSlash(context.cwd);
  if (cwd !== '') local(RuleOp.DIR, [cwd], 'working directory');
  // Programs resolve their own path folder by folder (realpath(3), Node's loader); they must not lose it on the way.
  local(RuleOp.EXACT, foldersAbove(cwd), 'folder above the working directory');
  if (context.executable !== '') local(RuleOp.SUFFIX, [context.executable], 'the program itself');
  if (home !== '') local(RuleOp.PREFIX, [`${home}/.`], 'hidden files of the home directory');
  return rules;
}

/** Without the root. */
function foldersAbove(path: string): string[] {
  const names = path.split('/').slice(1, -1);
  return names.map((_, index) => `/${names.slice(0, index + 1).join('/')}`);
}

/** '' also for the root, which would be every path. */
function withoutSlash(path: string): string {
  return path.replace(/\/+$/, '');
}
