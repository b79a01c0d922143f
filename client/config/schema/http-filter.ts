// The filters of feature.network: of HTTP requests, of addresses and of names.

import { MAX_CONDITIONS } from '#http-filter/limits.ts';
import { readAddressRule } from '../../network/address-rule.ts';
import { key, type Reading, section, toggle, type ValueType, works } from './dsl.ts';
import { anything, isPlainObject, nonEmptyText, optional, portList } from './values.ts';

/** Of one list: method_filter and header_filter_jq may stand beside it. */
const MAX_FILTERS = MAX_CONDITIONS - 2;

/** The forms of one filter: the keys of each. */
const FORMS = [['header'], ['path'], ['method'], ['query'], ['body', 'query', 'matches']] as const;

const BODY_EXAMPLE = '{"body": "json", "query": "$.user", "matches": "^a"}';
const BODY_FORM = FORMS[4];

/** All the keys of the form and no others, texts that are not empty. */
function hasForm(value: unknown, form: readonly string[]): boolean {
  if (!isPlainObject(value) || Object.keys(value).length !== form.length) return false;
  return form.every((name) => typeof value[name] === 'string' && value[name] !== '');
}

const isBodyFilter = (value: unknown): boolean =>
  hasForm(value, BODY_FORM) && (value as Readonly<Record<string, unknown>>)['body'] === 'json';

const bodyFilter = optional({
  ...anything({ type: 'object' }),
  name: 'a map with body, query and matches',
  read: (value: unknown) => (isBodyFilter(value) ? { ok: value } : { bad: `wants a map such as ${BODY_EXAMPLE}` }),
});

const composite = optional<readonly unknown[]>({
  name: 'a list of filters',
  read: (value) => {
    if (!Array.isArray(value) || value.length === 0) return { bad: 'wants a list of filters that is not empty' };
    if (value.length > MAX_FILTERS) return { bad: `wants at most ${MAX_FILTERS} filters` };
    const wrong = value.findIndex(
      (one) => !isBodyFilter(one) && !FORMS.some((form) => form !== BODY_FORM && hasForm(one, form)),
    );
    if (wrong === -1) return { ok: value };
    const forms = '{"header": …}, {"path": …}, {"method": …} or {"query": …}';
    return { bad: `wants filters that each are one of ${forms} with one text, or ${BODY_EXAMPLE} (item ${wrong + 1})` };
  },
  fromText: (text) => text,
  json: { type: 'array', minItems: 1, maxItems: MAX_FILTERS, items: { type: 'object' } },
});

export const httpFilter = section(
  'Which HTTP requests are meant; at most one of header, path, body, all_of and any_of.',
  {
    header_filter: key(optional(nonEmptyText), null, 'Pattern of one header, `name: value`.', {
      env: ['MIRRORD_HTTP_HEADER_FILTER'],
    }),
    path_filter: key(optional(nonEmptyText), null, 'Pattern of the path, with or without its query.', {
      env: ['MIRRORD_HTTP_PATH_FILTER'],
    }),
    method_filter: key(optional(nonEmptyText), null, 'Name of the method.', { env: ['MIRRORD_HTTP_METHOD_FILTER'] }),
    body_filter: key(bodyFilter, null, 'Query of a JSON body and a pattern of its result.'),
    header_filter_jq: key(optional(nonEmptyText), null, 'jq program over one header.', {
      env: ['MIRRORD_HTTP_HEADER_FILTER_JQ'],
    }),
    all_of: key(composite, null, 'Filters that must all match.'),
    any_of: key(composite, null, 'Filters of which one must match.'),
    ports: key(optional(portList), null, 'Ports that are filtered; all by default.', {
      env: ['MIRRORD_HTTP_FILTER_PORTS'],
    }),
  },
  { status: works, shorts: [toggle({}, {})] },
);

type Side = 'remote' | 'local';
export type AddressFilter = Readonly<{ side: Side; entries: readonly string[] }>;

/** `[proto://][name|ip|[v6]|ip/mask][:port]`; names and ports only for `dns`. */
export function addressFilter(kind: 'outgoing' | 'dns'): ValueType<AddressFilter> {
  const bad = { bad: 'wants {"remote": [...]} or {"local": [...]}' };
  return {
    name: 'a filter',
    read: (value): Reading<AddressFilter> => {
      if (!isPlainObject(value)) return bad;
      const [side, ...others] = Object.keys(value);
      if ((side !== 'remote' && side !== 'local') || others.length > 0) return bad;
      const entries = typeof value[side] === 'string' ? [value[side]] : value[side];
      if (!Array.isArray(entries)) return bad;
      for (const entry of entries) {
        if (typeof entry !== 'string' || !isAddress(entry, kind)) {
          return { bad: `holds ${JSON.stringify(entry)}, which is no [proto://][name|ip|ip/mask][:port]` };
        }
      }
      return { ok: { side, entries } };
    },
    fromText: (text) => text,
    json: {
      type: 'object',
      properties: {
        remote: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] },
        local: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] },
      },
      minProperties: 1,
      maxProperties: 1,
      additionalProperties: false,
    },
  };
}

function isAddress(entry: string, kind: 'outgoing' | 'dns'): boolean {
  return readAddressRule(entry) !== null && !(kind === 'dns' && entry.includes('://'));
}
