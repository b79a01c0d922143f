// Templates in configuration files: the part of Tera that mirrord's users rely on, through nunjucks, whose grammar is the
// same for it. Functions: get_env(name=, default=), range(start=, end=, step_by=). Variables: key, git_branch. Filters of
// nunjucks, and default, replace, split and truncate with Tera's named arguments. A template reads variables and nothing
// else: it gets at no file, no prototype and no constructor, so a configuration runs no code.

import { execFile } from 'node:child_process';
import nunjucks, { type Environment } from 'nunjucks';
import { AppError } from '#proto/errors.ts';

export interface TemplateContext {
  /** null while the key itself is rendered. */
  key: string | null;
  env: NodeJS.ProcessEnv;
  cwd: string;
}

const GIT_DEADLINE_MS = 2000;
const MAX_RANGE = 10_000;
/** A loop in a loop makes gigabytes of a line. */
const MAX_RENDERED = 4 << 20;

/** Throws CONFIG_INVALID for a fault in the template, an unknown variable or one of the environment without default. */
export async function render(text: string, context: TemplateContext): Promise<string> {
  const variables: Record<string, string> = {};
  if (context.key !== null) variables['key'] = context.key;
  if (text.includes('git_branch')) {
    const branch = await gitBranch(context);
    if (branch !== '') variables['git_branch'] = branch;
  }
  let rendered: string;
  try {
    rendered = environment(context.env).renderString(text, variables);
  } catch (error) {
    throw new AppError('CONFIG_INVALID', `template: ${reasonOf(error)}`, { cause: error });
  }
  if (rendered.length > MAX_RENDERED) {
    throw new AppError('CONFIG_INVALID', `template: makes more than ${MAX_RENDERED} characters`);
  }
  return rendered;
}

// The compiled templates reach members of values through this function.
nunjucks.runtime.memberLookup = (object: unknown, name: unknown): unknown => {
  if ((typeof object !== 'object' && typeof object !== 'string') || object === null) return undefined;
  return Object.hasOwn(Object(object), String(name)) ? (object as Record<string, unknown>)[String(name)] : undefined;
};

function environment(env: NodeJS.ProcessEnv): Environment {
  const engine = new nunjucks.Environment(null, { autoescape: false, throwOnUndefined: true });
  engine.addGlobal('get_env', (...args: unknown[]) => {
    const { name, default: otherwise } = named(args, ['name', 'default']);
    if (typeof name !== 'string') throw new Error('get_env wants name="…"');
    const value = env[name] ?? otherwise;
    if (value === undefined) throw new Error(`the variable ${name} is not set and get_env has no default`);
    return value;
  });
  engine.addGlobal('range', (...args: unknown[]) => range(named(args, args.length > 2 ? ['start', 'end'] : ['end'])));
  engine.addGlobal('cycler', undefined);
  engine.addGlobal('joiner', undefined);
  engine.addFilter('default', (value: unknown, ...args: unknown[]) =>
    value === undefined || value === null ? named(args, ['value'])['value'] : value,
  );
  engine.addFilter('replace', (value: unknown, ...args: unknown[]) => {
    const { from, to } = named(args, ['from', 'to']);
    return String(value).replaceAll(String(from), () => String(to));
  });
  engine.addFilter('split', (value: unknown, ...args: unknown[]) =>
    String(value).split(String(named(args, ['pat'])['pat'])),
  );
  engine.addFilter('truncate', (value: unknown, ...args: unknown[]) => {
    const { length, end } = { length: 255, end: '…', ...named(args, ['length', 'end']) };
    const text = [...String(value)];
    return text.length <= Number(length) ? text.join('') : text.slice(0, Number(length)).join('') + String(end);
  });
  return engine;
}

/** nunjucks hands named arguments over as a last one that is marked. */
function named(args: readonly unknown[], names: readonly string[]): Record<string, unknown> {
  const last = args.at(-1);
  const isNamed = typeof last === 'object' && last !== null && '__keywords' in last;
  const values: Record<string, unknown> = isNamed ? { ...last } : {};
  for (const [index, value] of (isNamed ? args.slice(0, -1) : args).entries()) {
    const name = names[index];
    if (name !== undefined) values[name] = value;
  }
  return values;
}

function range(options: Record<string, unknown>): number[] {
  const [start, end, step] = [Number(options['start'] ?? 0), Number(options['end']), Number(options['step_by'] ?? 1)];
  if (!(end - start <= MAX_RANGE * step) || !(step > 0)) throw new Error(`range goes to at most ${MAX_RANGE} numbers`);
  const numbers: number[] = [];
  for (let at = start; at < end; at += step) numbers.push(at);
  return numbers;
}

/** '' where there is none to be known. */
async function gitBranch({ env, cwd }: TemplateContext): Promise<string> {
  const given = env['MIRRORD_BRANCH_NAME'];
  if (given !== undefined) return given;
  return new Promise((resolve) => {
    const options = { cwd, env, timeout: GIT_DEADLINE_MS };
    execFile('git', ['branch', '--show-current'], options, (error, stdout) => resolve(error ? '' : stdout.trim()));
  });
}

/** nunjucks says "(unknown path) [Line 2, Column 5]" on a line of its own, and the reason on the next. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const line = /\[Line (\d+)/.exec(message)?.[1];
  const reason = (message.trim().split('\n').at(-1) ?? '').trim().replace(/^Error: /, '');
  const known = reason.includes('attempted to output null or undefined value')
    ? "a variable is not known (there are key and git_branch); `| default(value='…')` gives it a value"
    : reason;
  return line === undefined ? known : `line ${line}: ${known}`;
}
