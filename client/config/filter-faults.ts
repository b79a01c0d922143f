// Whether the filters of requests can be, told while the configuration is read: by the code that will ask them, which is
// loaded only where there is a filter.

import { compileJq } from '#http-filter/jq.ts';
import { compileJsonPath } from '#http-filter/json-path.ts';
import { readMethod } from '#http-filter/method.ts';
import { compilePattern, MAX_PATTERN_LENGTH } from '#http-filter/pattern.ts';
import { AppError } from '#proto/errors.ts';
import { CASELESS } from '../incoming/port-policy.ts';
import { placeOf, type Resolution } from './resolve.ts';

const SECTION = 'feature.network.incoming.http_filter';

type Check = (value: string, where: string) => unknown;

const caseless: Check = (value, where) => {
  const most = MAX_PATTERN_LENGTH - CASELESS.length;
  if (value.length > most) throw new AppError('CONFIG_INVALID', `${where} is longer than ${most} characters`);
  return compilePattern(value, where);
};

/** @returns each fault with its place, the part marked and what to write instead */
export function filterFaults({ config, sources }: Resolution): string[] {
  const filter = config.feature.network.incoming.http_filter;
  const faults: string[] = [];
  const check = (test: Check, value: unknown, path: string, more = ''): void => {
    if (typeof value !== 'string') return;
    try {
      test(value, `${placeOf(`${SECTION}.${path}`, sources.get(`${SECTION}.${path}`))}${more}`);
    } catch (error) {
      faults.push(AppError.from(error, 'CONFIG_INVALID').message);
    }
  };
  const checkBody = (value: unknown, path: string, more = ''): void => {
    const { query, matches } = value as Readonly<Record<string, unknown>>;
    check(compileJsonPath, query, path, `${more}, query`);
    check(compilePattern, matches, path, `${more}, matches`);
  };
  check(caseless, filter.header_filter, 'header_filter');
  check(caseless, filter.path_filter, 'path_filter');
  check(readMethod, filter.method_filter, 'method_filter');
  check(compileJq, filter.header_filter_jq, 'header_filter_jq');
  if (filter.body_filter !== null) checkBody(filter.body_filter, 'body_filter');
  for (const path of ['all_of', 'any_of'] as const) {
    filter[path]?.forEach((one, at) => {
      const part = one as Readonly<Record<string, unknown>>;
      const item = `, item ${at + 1}`;
      check(caseless, part['header'], path, `${item}, header`);
      check(caseless, part['path'], path, `${item}, path`);
      check(readMethod, part['method'], path, `${item}, method`);
      if (part['body'] !== undefined) checkBody(part, path, item);
      else check(compileJq, part['query'], path, `${item}, query`);
    });
  }
  return faults;
}
