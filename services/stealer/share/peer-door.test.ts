import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PEER_VERSION } from './peer-door.ts';

/** The highest field of what a joined stealer asks its holder for, at each version of the exchange. */
const HIGHEST_FIELDS: Readonly<Record<number, Readonly<Record<string, number>>>> = {
  1: { Subscribe: 15, HttpFilter: 2, HttpCondition: 6, JsonBody: 4, Standing: 2, Renew: 1, JoinTarget: 4 },
  2: {
    Subscribe: 16,
    TlsIdentity: 7,
    HttpFilter: 2,
    HttpCondition: 6,
    JsonBody: 4,
    Standing: 2,
    Renew: 1,
    JoinTarget: 4,
  },
  3: {
    Subscribe: 17,
    TlsIdentity: 7,
    HttpFilter: 2,
    HttpCondition: 6,
    JsonBody: 4,
    Standing: 2,
    Renew: 1,
    JoinTarget: 4,
  },
};

test('a field that an older holder would leave out in silence raises the version of the exchange', () => {
  const proto = readFileSync(new URL('../../../proto/v1/incoming.proto', import.meta.url), 'utf8');
  const highest = (message: string): number => {
    const [, body = ''] = new RegExp(`^message ${message} \\{$(.*?)^\\}`, 'ms').exec(proto) ?? [];
    return Math.max(...[...body.matchAll(/ = (\d+)[; [][^\n]*$/gm)].map(([, field]) => Number(field)));
  };
  const known = HIGHEST_FIELDS[PEER_VERSION] ?? {};
  const found = Object.fromEntries(Object.keys(known).map((message) => [message, highest(message)]));
  expect(found, 'a new field: write it down under a new PEER_VERSION').toEqual(known);
});
