// What filters cost for each request, in one process and without sockets: reading a head alone, and with each kind of filter
// that does not want it, and with 1, 10 and 100 of them. CPU microseconds for a request, and ratios to the head alone.
//
// node bench/run.mjs filter-cost [ROUNDS]

import { compileHttpFilter, type RequestFilter } from '../http-filter/http-filter.ts';
import { RequestBody } from '../http-filter/request-body.ts';
import type { HttpCondition } from '../proto/gen/v1/incoming.ts';
import { Http1Request } from '../services/runtime/http/http1-request.ts';
import { readRequestHead } from '../services/runtime/http/message-head.ts';
import { median, printTable } from './table.ts';

const rounds = Number(process.argv[2] ?? 7);
const REQUESTS = 20_000;

const HEAD = Buffer.from(
  [
    'POST /api/orders/4711?user=bob&page=2 HTTP/1.1',
    'Host: shop.example.com',
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36',
    'Accept: application/json, text/plain, */*',
    'Accept-Encoding: gzip, deflate, br',
    'Cookie: session=0123456789abcdef0123456789abcdef; theme=dark',
    'X-User: bob',
    'X-Request-Id: 5b2e4a3c-9d1f-4c8e-a7b6-3f2d1e0c9b8a',
    'Content-Type: application/json',
    'Content-Length: 1024',
    '',
    '',
  ].join('\r\n'),
);
const items = Array.from({ length: 12 }, (_, nth) => ({
  sku: `A${nth}`,
  owner: 'bob',
  count: nth,
  note: 'x'.repeat(30),
}));
const BODY = Buffer.from(JSON.stringify({ user: 'bob', items }));

type Condition = NonNullable<HttpCondition['condition']>;
const KINDS: ReadonlyArray<readonly [string, Condition]> = [
  ['method', { $case: 'method', value: 'DELETE' }],
  ['path', { $case: 'path', value: '(?i)^/cart/[0-9]+' }],
  ['header, with a text to look for', { $case: 'header', value: '(?i)^x-user: alice$' }],
  ['header, with none', { $case: 'header', value: '(?i)^x-.*: [a-e]{3,5}[0-9]$' }],
  ['jq of headers', { $case: 'headerJq', value: 'startswith("x-user: ") and endswith("alice")' }],
  ['jq of the query', { $case: 'queryJq', value: '.user == "alice"' }],
  [
    'JSON body of 1 KB',
    { $case: 'jsonBody', value: { query: '$.items[?@.owner == "alice"].sku', matches: '.', maxBytes: 0, waitMs: 0 } },
  ],
];

function microsPerRequest(filters: readonly RequestFilter[]): number {
  const before = process.cpuUsage();
  for (let nth = 0; nth < REQUESTS; nth++) {
    const head = readRequestHead(HEAD, 0, HEAD.length);
    if (typeof head === 'string') throw new Error(head);
    const request = new Http1Request(head);
    const isOpen = filters.map((filter) => filter.judge(request)).includes(undefined);
    if (!isOpen) continue;
    const body = new RequestBody(BODY);
    for (const filter of filters) if (filter.judgeWithBody(request, body)) throw new Error('it is wanted');
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / REQUESTS;
}

const ways: ReadonlyArray<readonly [string, readonly RequestFilter[]]> = [
  ['the head alone', []],
  ...KINDS.map(([name, condition]): readonly [string, readonly RequestFilter[]] => [
    name,
    [compileHttpFilter({ conditions: [{ condition }], isAny: false })],
  ]),
  ...[10, 100].map((count): readonly [string, readonly RequestFilter[]] => [
    `${count} headers, each with a text to look for`,
    Array.from({ length: count }, (_, nth) =>
      compileHttpFilter({
        conditions: [{ condition: { $case: 'header', value: `(?i)^x-user: user${nth}$` } }],
        isAny: false,
      }),
    ),
  ]),
];

const samples = new Map(ways.map(([name]) => [name, [] as number[]]));
for (let round = 0; round <= rounds; round++) {
  for (const [name, filters] of ways) {
    const micros = microsPerRequest(filters);
    // The first round warms up.
    if (round > 0) samples.get(name)?.push(micros);
  }
}
const base = median(samples.get('the head alone') ?? []);
printTable(
  'Filters that do not want a request',
  ['filter', 'CPU µs a request', 'to the head alone'],
  ways.map(([name]) => {
    const micros = median(samples.get(name) ?? []);
    return [name, micros.toFixed(2), (micros / base).toFixed(2)];
  }),
);
