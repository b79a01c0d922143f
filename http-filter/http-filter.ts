// Decides whether a request is wanted: the filters of a subscription, compiled once, asked for each request. The same for what
// is mirrored and what is stolen, for HTTP/1 and HTTP/2.

import { AppError } from '#proto/errors.ts';
import type { HttpCondition, HttpFilter, JsonBody } from '#proto/gen/v1/incoming.ts';
import { compileJq } from './jq.ts';
import { compileJsonPath } from './json-path.ts';
import { MAX_CONDITIONS } from './limits.ts';
import { readMethod } from './method.ts';
import { compilePattern } from './pattern.ts';
import { parametersOf } from './query-parameters.ts';
import type { RequestBody } from './request-body.ts';
import { WorkLimit, WorkLimitReached } from './work-limit.ts';

/** What a filter looks at. Made once for each request and asked by every filter on its port. */
export interface FilteredRequest {
  readonly method: string;
  /** The request target: origin form, absolute form, `*`, or HTTP/2's `:path`. */
  readonly target: string;
  /** The head's text in lower case, to look for fixed texts in. */
  readonly lowerText: string;
  /** Each header as `name: value`, the name in lower case; without those whose value is not visible ASCII. */
  readonly headerLines: readonly string[];
}

/** What a filter may hold of a body before it decides. */
export type BodyLimits = Readonly<{ bytes: number; waitMs: number }>;

export interface RequestFilter {
  /** By the head alone; a condition on a body does not hold. */
  matches(request: FilteredRequest): boolean;
  /** By the head alone; undefined when the body decides. */
  judge(request: FilteredRequest): boolean | undefined;
  /** @param body null when there is none, or none within the limits */
  judgeWithBody(request: FilteredRequest, body: RequestBody | null): boolean;
  /** null when no body is looked at. */
  readonly bodyLimits: BodyLimits | null;
  /** In lower case: a request of HTTP/1 whose head has none of them is not wanted. null: any may be. */
  readonly texts: readonly string[] | null;
}

/** The body is undefined while it is not known. Steps beyond the limit throw. */
type Holds = (request: FilteredRequest, body: RequestBody | null | undefined, work: WorkLimit) => boolean | undefined;

/** `texts`: in lower case, one of them is in the head of HTTP/1 whenever it holds. */
type Condition = Readonly<{ holds: Holds; texts?: readonly string[] | undefined }>;

/** Without one of them a request of HTTP/1 has no body (RFC 9112 section 6.3). */
const BODY_FIELDS = ['content-length', 'transfer-encoding'];

/** What a body filter looks at where its user does not say, and the most that he may say. */
const BODY_LIMITS: BodyLimits = { bytes: 65_535, waitMs: 1_000 };
const MAX_BODY_LIMITS: BodyLimits = { bytes: 1024 * 1024, waitMs: 10_000 };

/** Path with its query: of an absolute form what follows the authority (RFC 9112 section 3.2.2). */
export function pathAndQuery(target: string): string {
  if (target.startsWith('/')) return target;
  const authority = /^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i.exec(target);
  if (authority === null) return target;
  const rest = target.slice(authority[0].length);
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function headerCondition(source: string): Condition {
  const pattern = compilePattern(source, 'http_filter header');
  return {
    // The last one: values tell requests apart, names do not.
    texts: pattern.required.slice(-1),
    holds: ({ lowerText, headerLines }) =>
      pattern.required.every((text) => lowerText.includes(text)) &&
      headerLines.some((line) => line.startsWith(pattern.prefix) && pattern.matches(line)),
  };
}

function pathCondition(source: string): Condition {
  const pattern = compilePattern(source, 'http_filter path');
  const holds: Holds = ({ target, lowerText }) => {
    if (!pattern.required.every((text) => lowerText.includes(text))) return false;
    const whole = pathAndQuery(target);
    const query = whole.indexOf('?');
    return (query !== -1 && pattern.matches(whole.slice(0, query))) || pattern.matches(whole);
  };
  return { holds, texts: pattern.required.slice(-1) };
}

function methodCondition(name: string): Condition {
  const wanted = readMethod(name, 'http_filter method');
  return { holds: ({ method }) => method.toUpperCase() === wanted, texts: [wanted.toLowerCase()] };
}

function headerJqCondition(source: string): Condition {
  const program = compileJq(source, 'http_filter header_filter_jq');
  const { demanded } = program;
  return {
    texts: demanded.slice(-1),
    holds: ({ headerLines, lowerText }, _body, work) =>
      demanded.every((text) => lowerText.includes(text)) &&
      headerLines.some((line) => program.firstBoolean(line, work) === true),
  };
}

function queryJqCondition(source: string): Condition {
  const program = compileJq(source, 'http_filter query');
  const holds: Holds = ({ target }, _body, work) => program.firstBoolean(parametersOf(target), work) === true;
  // Programs say the same of the same: most want no request without a query.
  const isForAll = attempt(() => program.firstBoolean({}, new WorkLimit()) === true);
  // A space may be written as a plus, and any character by its number.
  const [longest] = program.demanded.flatMap((text) => text.split(/[ +]/)).sort((a, b) => b.length - a.length);
  const texts = longest === undefined || longest.length < 3 ? ['?'] : [longest, '%'];
  return { holds, texts: isForAll ? [] : texts };
}

function bodyCondition({ query, matches }: JsonBody): Condition {
  const run = compileJsonPath(query, 'http_filter body query');
  const pattern = compilePattern(matches, 'http_filter body matches');
  const factor = 1 + (matches.length >> 4);
  const holds: Holds = (_request, body, work) => {
    if (body === undefined) return undefined;
    const json = body?.json;
    if (json === undefined) return false;
    return run(json, work).some((result) => {
      const text = typeof result === 'string' ? result : JSON.stringify(result);
      work.spendOnText(text.length * factor);
      return pattern.matches(text);
    });
  };
  return { holds, texts: BODY_FIELDS };
}

/** One condition that does not hold decides, or all that do not. The fewer and the longer, the rarer. */
function textsOf(conditions: readonly Condition[], isAny: boolean): readonly string[] | null {
  const known = conditions.flatMap(({ texts }) => (texts !== undefined && texts.length > 0 ? [texts] : []));
  if (isAny) return known.length === conditions.length ? [...new Set(known.flat())] : null;
  const rarity = ([first = '', ...others]: readonly string[]): number => first.length - 1_000 * others.length;
  return known.sort((a, b) => rarity(b) - rarity(a))[0] ?? null;
}

function compileCondition({ condition }: HttpCondition): Condition {
  switch (condition?.$case) {
    case 'header':
      return headerCondition(condition.value);
    case 'path':
      return pathCondition(condition.value);
    case 'method':
      return methodCondition(condition.value);
    case 'headerJq':
      return headerJqCondition(condition.value);
    case 'queryJq':
      return queryJqCondition(condition.value);
    case 'jsonBody':
      return bodyCondition(condition.value);
    default:
      throw new AppError('UNSUPPORTED', 'http_filter has a condition of a kind that this agent does not know');
  }
}

/** The most that one of its conditions wants. */
function limitsOf(conditions: readonly HttpCondition[]): BodyLimits | null {
  const bodies = conditions.flatMap(({ condition }) => (condition?.$case === 'jsonBody' ? [condition.value] : []));
  if (bodies.length === 0) return null;
  return {
    bytes: Math.max(...bodies.map(({ maxBytes }) => Math.min(maxBytes || BODY_LIMITS.bytes, MAX_BODY_LIMITS.bytes))),
    waitMs: Math.max(...bodies.map(({ waitMs }) => Math.min(waitMs || BODY_LIMITS.waitMs, MAX_BODY_LIMITS.waitMs))),
  };
}

/**
 * @throws AppError CONFIG_INVALID naming the condition and its part; UNSUPPORTED for a part of jq that is not offered
 */
export function compileHttpFilter(filter: HttpFilter): RequestFilter {
  const { conditions, isAny } = filter;
  if (conditions.length === 0 || conditions.length > MAX_CONDITIONS) {
    throw new AppError(
      'CONFIG_INVALID',
      `http_filter has ${conditions.length} conditions: 1 to ${MAX_CONDITIONS} are allowed`,
    );
  }
  const compiled = conditions.map(compileCondition);
  const judge = (request: FilteredRequest, body: RequestBody | null | undefined): boolean | undefined => {
    const work = new WorkLimit();
    let isOpen = false;
    for (const condition of compiled) {
      const holds = attempt(() => condition.holds(request, body, work));
      if (holds === isAny) return isAny;
      isOpen ||= holds === undefined;
    }
    return isOpen ? undefined : !isAny;
  };
  const bodyLimits = limitsOf(conditions);
  return {
    matches: (request) => judge(request, null) === true,
    judge: (request) => judge(request, undefined),
    judgeWithBody: (request, body) => {
      const isWithin = body !== null && body.bytes.length <= (bodyLimits?.bytes ?? 0);
      return judge(request, isWithin ? body : null) === true;
    },
    bodyLimits,
    texts: textsOf(compiled, isAny),
  };
}

/** What needs more steps than it may take does not hold. */
function attempt(holds: () => boolean | undefined): boolean | undefined {
  try {
    return holds();
  } catch (error) {
    if (error instanceof WorkLimitReached) return false;
    throw error;
  }
}
