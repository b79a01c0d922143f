import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { RuleVerdict, WireFeature } from '#proto/wire.ts';
import type { WireRule } from '#proto/wire-client.ts';
import type { Config } from './config/schema/root.ts';
import { foldAscii, holds } from './file-rules/literals.ts';
import { FileRules } from './file-rules.ts';

// Thousands of paths, on a machine where others work too.
vi.setConfig({ testTimeout: 60_000 });

type Settings = Config['feature']['fs'];

const DEFAULTS: Settings = {
  mode: 'read',
  read_write: [],
  read_only: [],
  local: [],
  not_found: [],
  mapping: [],
  readonly_file_buffer: 128_000,
};
const CONTEXT = { home: '/home/u', cwd: '/code/app', tmp: '/var/folders/t', executable: '/srv/bin/tool' };

function rules(settings: Partial<Settings> = {}, context = CONTEXT): FileRules {
  return FileRules.compile({ ...DEFAULTS, ...settings }, context);
}

const REMOTE = 'remote';
const LOCAL = 'local';
const NONE = 'not-found';

test.each([
  // Path, then where it is read and written in modes local, localwithoverrides, read and write.
  ['/srv/data', [LOCAL, LOCAL], [LOCAL, LOCAL], [REMOTE, LOCAL], [REMOTE, REMOTE]],
  ['/etc/hosts', [LOCAL, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL]],
  ['/etc/hostname', [LOCAL, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL]],
  ['/etc/resolv.conf', [LOCAL, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL]],
  ['/etc/resolvXconf', [LOCAL, LOCAL], [LOCAL, LOCAL], [LOCAL, LOCAL], [LOCAL, LOCAL]],
  ['/etc/ssl/certs/a.pem', [LOCAL, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL]],
  ['/etc/ssl/certs', [LOCAL, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL], [REMOTE, LOCAL]],
  ['/etc/ssl/certsX', [LOCAL, LOCAL], [LOCAL, LOCAL], [LOCAL, LOCAL], [LOCAL, LOCAL]],
  ['/home/u/.kube/config', [LOCAL, LOCAL], [NONE, NONE], [NONE, NONE], [NONE, NONE]],
  ['/home/u/.config/gcloud/x', [LOCAL, LOCAL], [NONE, NONE], [NONE, NONE], [NONE, NONE]],
  ['/home/u/.azure', [LOCAL, LOCAL], [NONE, NONE], [NONE, NONE], [NONE, NONE]],
  ['data/file', [LOCAL, LOCAL], [LOCAL, LOCAL], [LOCAL, LOCAL], [LOCAL, LOCAL]],
] as const)('%s without patterns', (path, ...expected) => {
  for (const [index, mode] of (['local', 'localwithoverrides', 'read', 'write'] as const).entries()) {
    const compiled = rules({ mode });
    expect([compiled.decide(path, false).where, compiled.decide(path, true).where]).toEqual(expected[index]);
  }
});

test.each([
  '/',
  '/proc/self/maps',
  '/sys',
  '/lib/x',
  '/etc/passwd',
  '/usr/lib/libc.so.6',
  '/home/other/file',
  '/bin/sh',
  '/sbin/x',
  '/dev/null',
  '/opt/x',
  '/tmp',
  '/var/tmp/x',
  '/var/folders/t/x',
  '/snap/x',
  '/run/x',
  '/nix/store/x',
  '/code/app',
  '/code/app/x',
  '/data/lib.so',
  '/data/x.PY',
  '/data/x.class',
  '/data/package.json',
  '/data/node_modules/x',
  '/data/.asdf/x',
  '/data/pyvenv.cfg',
  '/home/u/.bashrc',
  '/srv/bin/tool',
])('%s is local by default, also in write mode', (path) => {
  const { where, rule } = rules({ mode: 'write' }).decide(path, true);
  expect(where).toBe(LOCAL);
  expect(rule).not.toContain('feature.fs.mode');
});

test.each([
  '/lib64/x',
  '/var/x',
  '/app/x',
  '/root/x',
  '/code/application',
  '/procx',
  '/data/libx.so.1',
  '/data/myPackage.json',
  '/HOMEX',
])('%s is remote by default', (path) => {
  expect(rules().decide(path, false).where).toBe(REMOTE);
});

test("the order of the user's patterns is not_found, read_write, read_only, local", () => {
  const all = ['^/p'];
  expect(rules({ local: all }).decide('/p', false).where).toBe(LOCAL);
  expect(rules({ local: all, read_only: all }).decide('/p', false).where).toBe(REMOTE);
  expect(rules({ local: all, read_only: all }).decide('/p', true).where).toBe(LOCAL);
  expect(rules({ local: all, read_only: all, read_write: all }).decide('/p', true).where).toBe(REMOTE);
  expect(rules({ read_write: all, not_found: all }).decide('/p', true).where).toBe(NONE);
});

test.each(['read', 'write', 'local', 'localwithoverrides'] as const)(
  'in mode %s a copy may stand in for the hosts of the target, but where a rule says otherwise',
  (mode) => {
    expect(rules({ mode }).isReadOnlyCopy('/etc/hosts')).toBe(true);
    for (const rule of [{ local: ['^/etc/hosts$'] }, { read_write: ['^/etc/hosts$'] }]) {
      expect(rules({ mode, ...rule }).isReadOnlyCopy('/etc/hosts')).toBe(mode === 'local');
    }
  },
);

test('patterns come before the default lists, and count in mode localwithoverrides', () => {
  const compiled = rules({ mode: 'localwithoverrides', read_write: ['^/etc/app', '\\.PY$'], local: ['^/etc/hosts$'] });
  expect(compiled.decide('/etc/app/x', true)).toEqual({
    where: REMOTE,
    path: '/etc/app/x',
    rule: 'feature.fs.read_write ^/etc/app',
  });
  expect(compiled.decide('/x/a.py', true).where).toBe(REMOTE);
  expect(compiled.decide('/etc/hosts', false).where).toBe(LOCAL);
});

test('a relative path is local unless it is not found', () => {
  const compiled = rules({ mode: 'write', read_write: ['x'], not_found: ['secret'], mapping: [['x', 'y']] });
  expect(compiled.decide('dir/x', true)).toMatchObject({ where: LOCAL, path: 'dir/x' });
  expect(compiled.decide('dir/SECRET', false).where).toBe(NONE);
});

test('the first mapping that fits is used, whatever the case of its letters, and then the new path decides', () => {
  const compiled = rules({
    mapping: [
      ['^/a/(.*)$', '/tmp/$1'],
      ['^/a/b$', '/never'],
      ['^/B/', '/srv/'],
      ['^/gone', '/home/u/.kube'],
      ['^/rel/', ''],
    ],
  });
  expect(compiled.decide('/a/b', false)).toMatchObject({ where: LOCAL, path: '/tmp/b' });
  expect(compiled.decide('/b/x/b/', false)).toMatchObject({ where: REMOTE, path: '/srv/x/b/' });
  expect(compiled.decide('/gone', false).where).toBe(NONE);
  expect(compiled.decide('/rel/x', false)).toMatchObject({ where: LOCAL, path: 'x' });
});

test('in mode local nothing is looked at, patterns and mapping included', () => {
  const compiled = rules({ mode: 'local', mapping: [['a', 'b']], not_found: ['a'], read_write: ['a'] });
  expect(compiled.decide('/a', true)).toMatchObject({ where: LOCAL, path: '/a' });
  expect(compiled.toWire()).toHaveLength(1);
  expect(compiled.features()).toBe(0);
});

test('writes are looked at because something may not be found by them', () => {
  const bare = { home: '', cwd: '/', tmp: '', executable: '' };
  expect(rules().features()).toBe(WireFeature.FILES_READ | WireFeature.FILES_WRITE);
  expect(rules({}, bare).features()).toBe(WireFeature.FILES_READ);
  expect(rules({ mode: 'write' }, bare).features()).toBe(WireFeature.FILES_READ | WireFeature.FILES_WRITE);
  expect(rules({ read_only: ['a'] }, bare).features()).toBe(WireFeature.FILES_READ);
  expect(rules({ read_write: ['a'] }, bare).features()).toBe(WireFeature.FILES_READ | WireFeature.FILES_WRITE);
});

test('without patterns the supervisor never has to ask', () => {
  for (const mode of ['localwithoverrides', 'read', 'write'] as const) {
    expect(
      rules({ mode })
        .toWire()
        .some(({ verdict }) => verdict === RuleVerdict.ASK),
    ).toBe(false);
  }
});

test('rules that are too many for the supervisor are refused', () => {
  const many = Array.from({ length: 400 }, (_, index) => `${'x'.repeat(4000)}${index}`);
  expect(() => rules({ local: many }).toWire()).toThrow('use fewer');
});

/** As layer/rules.c compares. */
function evaluate(wire: readonly WireRule[], path: string, isWrite: boolean): RuleVerdict {
  for (const rule of wire) {
    if ((!path.startsWith('/') && !rule.relative) || (isWrite && rule.readsOnly)) continue;
    const bytes = (text: string) => Buffer.from(rule.foldCase ? foldAscii(text) : text).toString('latin1');
    if (!holds(rule.op, Buffer.from(rule.literal).toString('latin1'), bytes(path))) continue;
    if (rule.verdict !== RuleVerdict.REMOTE_READS) return rule.verdict;
    return isWrite ? RuleVerdict.LOCAL : RuleVerdict.REMOTE;
  }
  return RuleVerdict.LOCAL;
}

const WHERE: Partial<Record<RuleVerdict, string>> = {
  [RuleVerdict.LOCAL]: LOCAL,
  [RuleVerdict.REMOTE]: REMOTE,
  [RuleVerdict.NOT_FOUND]: NONE,
};

const word = fc.constantFrom('a', 'B', 'etc', 'hosts', '.txt', 'é', 'K', '\u212a', 'ſ', '\n', '', 'x.y', '.py');
const pathText = fc
  .tuple(fc.constantFrom('/', '', '/etc/', '/a/', '/home/u/.kube', '/code/app'), fc.array(word, { maxLength: 4 }))
  .map(([start, words]) => start + words.join('/'));
const piece = fc.constantFrom(
  ...['/', 'a', 'b', 'etc', 'hosts', '\\.txt', '.', '.*', '(/.*)?', '(a|b)', '[ab]', '[^/]', '[.]', 'é', 'k', 's?'],
  ...['(?:x|)', '+', '*', '(/|$)', '^', '$', '|', '\\p{L}', '\\d', '{2}', '(?=a)', '(a)?', '\\x41', '(?!b)'],
);
const pattern = fc
  .tuple(
    fc.constantFrom('', '^', '^/', '^/a', '(?-i)', '(?m)^'),
    fc.array(piece, { maxLength: 5 }),
    fc.constantFrom('', '$'),
  )
  .map(([start, pieces, end]) => start + pieces.join('') + end);
const patterns = fc.array(pattern, { maxLength: 2 });
const settings = fc.record({
  mode: fc.constantFrom('local', 'localwithoverrides', 'read', 'write'),
  read_write: patterns,
  read_only: patterns,
  local: patterns,
  not_found: patterns,
  mapping: fc.array(fc.tuple(pattern, fc.constantFrom('/srv/$0', '/etc/hosts', 'rel')), { maxLength: 1 }),
});

test("the supervisor's rules say what decide says, or ask", () => {
  const seen = { compared: 0, asked: 0 };
  const check = (given: Partial<Settings>, paths: readonly string[]) => {
    let compiled: FileRules;
    try {
      compiled = rules(given);
    } catch {
      // A pattern that is none.
      return;
    }
    const wire = compiled.toWire();
    for (const path of paths) {
      for (const isWrite of [false, true]) {
        const verdict = evaluate(wire, path, isWrite);
        seen.compared++;
        if (verdict === RuleVerdict.ASK) seen.asked++;
        else
          expect({ where: WHERE[verdict], path }).toEqual({
            where: compiled.decide(path, isWrite).where,
            path: compiled.decide(path, isWrite).path,
          });
      }
    }
  };
  const numRuns = Number(process.env['FUZZ_RUNS'] ?? 1500);
  fc.assert(fc.property(settings, fc.array(pathText, { minLength: 1, maxLength: 8 }), check), { numRuns });
  expect(seen.compared).toBeGreaterThan(numRuns);
  expect(seen.asked).toBeLessThan(seen.compared);
});

test('files that tell how names are looked up are read from their stand-ins in every mode, and written where they are', () => {
  const context = { home: '', cwd: '', tmp: '', executable: '' };
  const nameFiles = [{ path: '/etc/nsswitch.conf', instead: '/run/ours' }];
  for (const mode of ['local', 'read'] as const) {
    const compiled = FileRules.compile({ ...DEFAULTS, mode }, context).withNameFiles(nameFiles);
    expect(compiled.decide('/etc/nsswitch.conf', false)).toMatchObject({ where: 'local', path: '/run/ours' });
    expect(compiled.decide('/etc/nsswitch.conf', true)).toMatchObject({ where: 'local', path: '/etc/nsswitch.conf' });
    expect(compiled.features() & WireFeature.FILES_READ).toBe(WireFeature.FILES_READ);
    expect(compiled.toWire()[0]).toMatchObject({ verdict: RuleVerdict.ASK, readsOnly: true });
  }
});
