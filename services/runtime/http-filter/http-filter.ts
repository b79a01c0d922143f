// Decides whether a request is wanted: the filters of a subscription, compiled once, asked for each request. The same for what
// is mirrored and what is stolen, for HTTP/1 and HTTP/2.

import { AppError } from '#proto/errors.ts';
import type { HttpCondition, HttpFilter } from '#proto/gen/v1/incoming.ts';
import { compilePattern } from './pattern.ts';

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

export interface RequestFilter {
  matches(request: FilteredRequest): boolean;
}

type Condition = (request: FilteredRequest) => boolean;

/** Most conditions of one filter. */
export const MAX_CONDITIONS = 64;

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
  return ({ lowerText, headerLines }) =>
    pattern.required.every((text) => lowerText.includes(text)) && headerLines.some((line) => pattern.matches(line));
}

function pathCondition(source: string): Condition {
  const pattern = compilePattern(source, 'http_filter path');
  return ({ target, lowerText }) => {
    if (!pattern.required.every((text) => lowerText.includes(text))) return false;
    const whole = pathAndQuery(target);
    const query = whole.indexOf('?');
    return (query !== -1 && pattern.matches(whole.slice(0, query))) || pattern.matches(whole);
  };
}

function methodCondition(name: string): Condition {
  const wanted = name.toUpperCase();
  if (!/^[!#$%&'*+.^_`|~0-9A-Z-]+$/.test(wanted)) {
    throw new AppError('CONFIG_INVALID', `http_filter method ${JSON.stringify(name)} is no name of a method`);
  }
  return ({ method }) => method.toUpperCase() === wanted;
}

function compileCondition({ condition }: HttpCondition): Condition {
  switch (condition?.$case) {
    case 'header':
      return headerCondition(condition.value);
    case 'path':
      return pathCondition(condition.value);
    case 'method':
      return methodCondition(condition.value);
    default: {
      const kind = condition === undefined ? 'no condition' : condition.$case === 'jsonBody' ? 'body' : 'jq';
      throw new AppError(
        'UNSUPPORTED',
        `http_filter with ${kind} is not built yet: use header, path, method, all_of or any_of`,
      );
    }
  }
}

/**
 * @throws AppError CONFIG_INVALID naming the condition and its part; UNSUPPORTED for a condition that is not built
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
  return {
    matches: isAny
      ? (request) => compiled.some((condition) => condition(request))
      : (request) => compiled.every((condition) => condition(request)),
  };
}
