import { expect, test, vi } from 'vitest';
import { faultsOf, loadText } from '../testing/load-text.ts';

const loaded: string[] = [];

vi.mock('re2js', (importOriginal) => {
  loaded.push('re2js');
  return importOriginal();
});

test('what reads filters is loaded with the first filter, and not before', async () => {
  await loadText('{"feature": {"network": {"incoming": {"mode": "steal", "http_filter": {"ports": [80]}}}}}');
  await loadText('{"feature": {"network": {"incoming": "mirror"}}}');
  expect(loaded).toEqual([]);
  await faultsOf('{"feature": {"network": {"incoming": {"http_filter": {"path_filter": "("}}}}}');
  expect(loaded).toEqual(['re2js']);
});
