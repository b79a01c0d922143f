import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AppError } from '#proto/errors.ts';
import { verify } from './conflicts.ts';
import { type Format, hasTemplate, parseDocument } from './document.ts';
import { chooseKey } from './key.ts';
import { loadConfig } from './load.ts';
import { resolve } from './resolve.ts';
import { rewrite } from './rewrite.ts';
import type { Keys, Section } from './schema/dsl.ts';
import { root } from './schema/root.ts';
import { render } from './template.ts';

const CORPUS = new URL('../../test/corpus/config/', import.meta.url);
const corpus = readdirSync(CORPUS).map((name) => ({ name, text: readFileSync(new URL(name, CORPUS), 'utf8') }));
const FORMATS: readonly Format[] = ['json', 'toml', 'yaml'];
/** Runs of each property; FUZZ_RUNS makes them longer by hand. */
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 150);

/** Everything but the reading of the file. Fails for every error but CONFIG_INVALID. */
async function load(text: string, format: Format): Promise<void> {
  const context = { flags: {}, env: { HOME: '/home/u', MIRRORD_BRANCH_NAME: 'b' }, cwd: '/' };
  try {
    const key = await chooseKey({ text, format }, context);
    const rendered = hasTemplate(text) ? await render(text, { ...context, key: key.value }) : text;
    const resolution = resolve({ document: await parseDocument(rendered, format), ...context });
    rewrite(resolution, { ...context, key, document: await parseDocument(rendered, format) });
    verify(resolution);
    for (const fault of resolution.faults) expect(fault).not.toContain('undefined');
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'CONFIG_INVALID') throw error;
  }
}

test.each(corpus)('the corpus file $name loads or is refused, whatever its format is taken for', async ({ text }) => {
  for (const format of FORMATS) await load(text, format);
});

test('every prefix of a corpus file loads or is refused', async () => {
  for (const { name, text } of corpus) {
    const format = (name.split('.').at(-1) ?? 'json') as Format;
    for (let length = 0; length < text.length; length += 7) await load(text.slice(0, length), format);
  }
}, 30_000);

test('corpus files with parts changed load or are refused', async () => {
  const piece = fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.constantFrom('{{', '}}', '{%', '%}', '"', '\n', ':', '[', '__proto__', '\\', '&a', '*a'),
  );
  const change = fc.record({ file: fc.nat(corpus.length - 1), at: fc.nat(400), remove: fc.nat(9), insert: piece });
  await fc.assert(
    fc.asyncProperty(change, fc.constantFrom(...FORMATS), async ({ file, at, remove, insert }, format) => {
      const text = corpus[file]?.text ?? '';
      await load(text.slice(0, at) + insert + text.slice(at + remove), format);
    }),
    { numRuns: RUNS },
  );
}, 30_000);

test('any text loads or is refused', async () => {
  const any = fc.string({ unit: 'binary', maxLength: 60 });
  await fc.assert(
    fc.asyncProperty(any, fc.constantFrom(...FORMATS), (text, format) => load(text, format)),
    { numRuns: RUNS },
  );
}, 30_000);

test('any value for any key loads or is refused', async () => {
  const paths = keyPaths(root, []);
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.string(),
    fc.constantFrom('steal', 'write', '^/a(', { local: ['a:1'] }),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), value, (path, one) => {
      const nested = path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), one);
      return load(JSON.stringify(nested), 'json');
    }),
    { numRuns: RUNS * 4 },
  );
}, 30_000);

test('any text in any variable is accepted or refused by its name', async () => {
  const names = ['MIRRORD_FILE_MODE', 'MIRRORD_FILE_OPS', 'MIRRORD_KEY', 'MIRRORD_TELEMETRY', 'MIRRORD_AGENT_TTL'];
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...names), fc.string(), async (name, text) => {
      try {
        await loadConfig({ flags: {}, env: { [name]: text }, cwd: '/' });
      } catch (error) {
        expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(name) });
      }
    }),
    { numRuns: RUNS },
  );
}, 30_000);

/** Of sections too: their short forms are read as well. */
function keyPaths(node: Section<Keys>, path: string[]): string[][] {
  return Object.entries(node.keys).flatMap(([name, child]) => {
    const here = [...path, name];
    return child.node === 'section' ? [here, ...keyPaths(child, here)] : [here];
  });
}
