import { expect, test } from 'vitest';
import { RuleOp, RuleVerdict } from '#proto/wire.ts';
import { defaultRules } from './default-sets.ts';

test('the folders above the working directory are local, but not what else is in them', () => {
  const context = { home: '', tmp: '', executable: '', cwd: '/srv/projects/shop/' };
  const above = defaultRules(context).filter(({ set }) => set === 'folder above the working directory');
  expect(above.map(({ op, text, verdict }) => ({ op, text, verdict }))).toEqual([
    { op: RuleOp.EXACT, text: '/srv', verdict: RuleVerdict.LOCAL },
    { op: RuleOp.EXACT, text: '/srv/projects', verdict: RuleVerdict.LOCAL },
  ]);
});
