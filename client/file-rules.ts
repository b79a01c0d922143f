// Where a path is read and written: in the target, here, or nowhere. Compiled once from feature.fs; asked by the client
// for one path at a time and compiled once more into the supervisor's literal comparisons, which say the same without
// asking wherever a literal can. Writes are all calls that change a path: open for writing, mkdir, rmdir, unlink, rename,
// link, symlink, chmod, chown, truncate, utimens. Pure.

import { AppError } from '#proto/errors.ts';
import { RuleOp, RuleVerdict, WireFeature } from '#proto/wire.ts';
import type { WireRule } from '#proto/wire-client.ts';
import type { Config } from './config/schema/root.ts';
import { defaultRules, type RuleContext } from './file-rules/default-sets.ts';
import { foldAscii, holds, type Literal, literalsOf } from './file-rules/literals.ts';
import { compilePattern, type Pattern } from './file-rules/pattern.ts';
import { replaceMatch } from './file-rules/replacement.ts';

export interface Decision {
  where: 'local' | 'remote' | 'not-found';
  /** The path to use: another one than asked about where a mapping fits. */
  path: string;
  /** Which rule decided, for people. */
  rule: string;
}

interface Rule {
  readonly matches: (path: string, folded: string) => boolean;
  readonly verdict: RuleVerdict;
  readonly readsOnly: boolean;
  /** Also asked about relative paths. */
  readonly relative: boolean;
  readonly says: string;
  /** foldsCase belongs to all of them. */
  readonly literals: readonly Literal[];
  readonly foldsCase: boolean;
}

interface Mapping {
  readonly pattern: Pattern;
  readonly replacement: string;
  readonly literals: readonly Literal[];
}

type FileSettings = Config['feature']['fs'];

/** A file of this machine that is read in place of one that tells how names are looked up. */
export interface NameFile {
  readonly path: string;
  readonly instead: string;
}

/** Well below what one SETUP can carry. */
const MAX_WIRE_BYTES = 1 << 20;
const RULE_HEAD_BYTES = 6;

export class FileRules {
  readonly mode: FileSettings['mode'];
  readonly #mappings: readonly Mapping[];
  readonly #rules: readonly Rule[];
  readonly #nameFiles: readonly NameFile[];

  private constructor(
    mode: FileSettings['mode'],
    mappings: readonly Mapping[],
    rules: readonly Rule[],
    nameFiles: readonly NameFile[],
  ) {
    this.mode = mode;
    this.#mappings = mappings;
    this.#rules = rules;
    this.#nameFiles = nameFiles;
  }

  /** Throws CONFIG_INVALID for a pattern that is none; a loaded configuration holds none of those. */
  static compile(fs: FileSettings, context: RuleContext): FileRules {
    if (fs.mode === 'local') return new FileRules('local', [], [], []);
    const mappings = fs.mapping.map(([text, replacement]) => {
      const pattern = compiled('mapping', text);
      return { pattern, replacement, literals: literalsOf(pattern) };
    });
    const rules = [
      ...userRules('not_found', fs.not_found, RuleVerdict.NOT_FOUND),
      ...userRules('read_write', fs.read_write, RuleVerdict.REMOTE),
      ...userRules('read_only', fs.read_only, RuleVerdict.REMOTE_READS),
      ...userRules('local', fs.local, RuleVerdict.LOCAL),
      ...builtInRules(context),
    ];
    return new FileRules(fs.mode, mappings, rules, []);
  }

  /** The same rules, but for reads of these files. */
  withNameFiles(nameFiles: readonly NameFile[]): FileRules {
    return new FileRules(this.mode, this.#mappings, this.#rules, nameFiles);
  }

  /** Of a file that names are looked up by: may what the target has of it stand in for it? Not where it can be written there. */
  isReadOnlyCopy(path: string): boolean {
    if (this.mode === 'local') return true;
    const read = this.decide(path, false);
    return read.where === 'remote' && read.path === path && this.decide(path, true).where !== 'remote';
  }

  /** Some 2 µs. `isRelative` says otherwise than the path's first character only where the caller knows better. */
  decide(path: string, isWrite: boolean, isRelative = !path.startsWith('/')): Decision {
    const nameFile = isWrite ? undefined : this.#nameFiles.find((one) => one.path === path);
    if (nameFile !== undefined) return { where: 'local', path: nameFile.instead, rule: 'feature.network.dns' };
    if (this.mode === 'local') return { where: 'local', path, rule: 'feature.fs.mode is local' };
    if (isRelative)
      return this.#match(path, isWrite, true) ?? { where: 'local', path, rule: 'relative paths are local' };
    const mapped = this.#map(path);
    if (mapped === null) return this.#decideAbsolute(path, isWrite);
    if (!mapped.path.startsWith('/')) {
      return { where: 'local', path: mapped.path, rule: `${mapped.says}; relative paths are local` };
    }
    const decision = this.#decideAbsolute(mapped.path, isWrite);
    return { ...decision, rule: `${mapped.says}; ${decision.rule}` };
  }

  /** The same as literal comparisons. First that matches decides; ASK means `decide`. */
  toWire(): WireRule[] {
    const wire = this.#nameFiles.map(({ path }) => ({
      ...wireRule({ op: RuleOp.EXACT, text: path, isExact: false }, RuleVerdict.ASK),
      readsOnly: true,
    }));
    if (this.mode === 'local') {
      return [...wire, wireRule({ op: RuleOp.ALWAYS, text: '', isExact: true }, RuleVerdict.LOCAL)];
    }
    for (const { literals, pattern } of this.#mappings) {
      // Whatever the comparison says, the new path has to come from here.
      for (const one of literals) wire.push(wireRule({ ...one, isExact: false }, RuleVerdict.ASK, pattern.foldsCase));
    }
    wire.push(...this.#rules.flatMap((rule) => rule.literals.map((one) => ruleToWire(rule, one))));
    wire.push(wireRule({ op: RuleOp.ALWAYS, text: '', isExact: true }, MODE_VERDICT[this.mode]));
    const bytes = wire.reduce((sum, rule) => sum + rule.literal.length + RULE_HEAD_BYTES, 0);
    if (bytes > MAX_WIRE_BYTES) {
      const what = `the patterns of feature.fs take ${bytes} bytes of rules, more than ${MAX_WIRE_BYTES}; use fewer`;
      throw new AppError('CONFIG_INVALID', what);
    }
    return wire;
  }

  /** Bits of WireFeature: which calls must be looked at for the rules to hold. */
  features(): number {
    if (this.mode === 'local') return this.#nameFiles.length > 0 ? WireFeature.FILES_READ : 0;
    const reaches = ({ verdict, readsOnly }: Rule) =>
      !readsOnly && (verdict === RuleVerdict.REMOTE || verdict === RuleVerdict.NOT_FOUND);
    const changesWrites = this.mode === 'write' || this.#mappings.length > 0 || this.#rules.some(reaches);
    return WireFeature.FILES_READ | (changesWrites ? WireFeature.FILES_WRITE : 0);
  }

  #map(path: string): { path: string; says: string } | null {
    for (const { pattern, replacement } of this.#mappings) {
      const mapped = replaceMatch(pattern.regex, path, replacement);
      if (mapped !== null) return { path: mapped, says: `feature.fs.mapping ${pattern.text} makes it ${mapped}` };
    }
    return null;
  }

  #decideAbsolute(path: string, isWrite: boolean): Decision {
    const decision = this.#match(path, isWrite, false);
    if (decision !== null) return decision;
    const where = verdictToWhere(MODE_VERDICT[this.mode], isWrite);
    return { where, path, rule: `feature.fs.mode is ${this.mode}` };
  }

  #match(path: string, isWrite: boolean, isRelative: boolean): Decision | null {
    const folded = foldAscii(path);
    for (const rule of this.#rules) {
      if ((isRelative && !rule.relative) || (isWrite && rule.readsOnly)) continue;
      if (rule.matches(path, folded)) return { where: verdictToWhere(rule.verdict, isWrite), path, rule: rule.says };
    }
    return null;
  }
}

const MODE_VERDICT = {
  local: RuleVerdict.LOCAL,
  localwithoverrides: RuleVerdict.LOCAL,
  read: RuleVerdict.REMOTE_READS,
  write: RuleVerdict.REMOTE,
} as const;

function verdictToWhere(verdict: RuleVerdict, isWrite: boolean): Decision['where'] {
  if (verdict === RuleVerdict.NOT_FOUND) return 'not-found';
  const isRemote = verdict === RuleVerdict.REMOTE || (verdict === RuleVerdict.REMOTE_READS && !isWrite);
  return isRemote ? 'remote' : 'local';
}

function compiled(key: string, text: string): Pattern {
  const result = compilePattern(text);
  if ('ok' in result) return result.ok;
  throw new AppError('CONFIG_INVALID', `feature.fs.${key} holds ${JSON.stringify(text)}, which ${result.bad}`);
}

function userRules(key: string, texts: readonly string[], verdict: RuleVerdict): Rule[] {
  return texts.map((text) => {
    const pattern = compiled(key, text);
    return {
      matches: (path) => pattern.regex.test(path),
      verdict,
      readsOnly: false,
      relative: verdict === RuleVerdict.NOT_FOUND,
      says: `feature.fs.${key} ${text}`,
      literals: literalsOf(pattern).sort((a, b) => Number(b.isExact) - Number(a.isExact)),
      foldsCase: pattern.foldsCase,
    };
  });
}

const OP_SAYS: Readonly<Record<RuleOp, string>> = {
  [RuleOp.ALWAYS]: 'everything',
  [RuleOp.EXACT]: 'exactly',
  [RuleOp.DIR]: 'in',
  [RuleOp.PREFIX]: 'begins with',
  [RuleOp.SUFFIX]: 'ends with',
  [RuleOp.CONTAINS]: 'contains',
};

function builtInRules(context: RuleContext): Rule[] {
  return defaultRules(context).map((rule) => {
    const text = foldAscii(rule.text);
    return {
      matches: (_path, folded) => holds(rule.op, text, folded),
      verdict: rule.verdict,
      readsOnly: rule.readsOnly,
      relative: rule.verdict === RuleVerdict.NOT_FOUND,
      says: `${rule.set}: ${OP_SAYS[rule.op]} ${rule.text}`,
      literals: [{ op: rule.op, text, isExact: true }],
      foldsCase: true,
    };
  });
}

function ruleToWire(rule: Rule, literal: Literal): WireRule {
  const verdict = literal.isExact ? rule.verdict : RuleVerdict.ASK;
  return { ...wireRule(literal, verdict, rule.foldsCase), relative: rule.relative, readsOnly: rule.readsOnly };
}

function wireRule(literal: Literal, verdict: RuleVerdict, foldCase = false): WireRule {
  return {
    op: literal.op,
    verdict,
    foldCase,
    relative: false,
    readsOnly: false,
    literal: Buffer.from(foldCase ? foldAscii(literal.text) : literal.text),
  };
}
