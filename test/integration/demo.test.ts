// The demo is the first thing a newcomer runs, so it is run here too.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { can } from '../can.ts';
import { run } from '../fixtures/run.ts';

const checkout = path.join(import.meta.dirname, '../..');
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'mirrord-demo-test-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(!can.root.yes)(`the demo shows the difference and leaves nothing behind (${can.root.why})`, async () => {
  const variables = { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/', TMPDIR: folder };
  const { code, stdout, stderr } = await run(['bash', 'scripts/demo'], { folder: checkout, variables });
  expect(code, `${stdout}\n${stderr}`).toBe(0);
  const [alone = '', together = ''] = stdout.split('2. The same program with mirrord');
  expect(alone).toContain('SHOP_NAME              (not set)');
  expect(alone).toContain('/srv/shop/prices.json  (ENOENT)');
  expect(together).toContain('SHOP_NAME              Corner Shop');
  expect(together).toContain('/etc/hostname          shop-6d5f9c7b8-x2x9q');
  expect(together).toContain('/srv/shop/prices.json  tea 3.2 EUR, coffee 4.1 EUR, cake 5.5 EUR');
  const [, mirrored = '', stolen = ''] = together.split(/\n(?:3\. What arrives|4\. The same)/);
  expect(mirrored).toMatch(/\$ curl shop\/prices {3}\{ "tea": 3\.2.*\n {2}here: GET \/prices from /);
  expect(stolen).toMatch(/\$ curl shop\/prices {3}\{ "tea": 3\.2/);
  expect(stolen).toMatch(/'x-user: me' shop\/prices {3}\{ "tea": 0\.99/);
  expect(stolen.match(/here: GET/g)).toHaveLength(1);
  expect(readdirSync(folder).filter((name) => /^mirrord-(demo|run)-/.test(name))).toEqual([]);
});
