// Writes what is made from the configuration's schema: client/config/mirrord-schema.json and docs/configuration.md. The
// unit tests fail while they are older than the schema.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'));
const folder = mkdtempSync(join(tmpdir(), 'mirrord-export-'));
try {
  const outfile = join(folder, 'export.mjs');
  const contents = `export { jsonSchema } from './json-schema.ts'; export { documentation } from './documentation.ts';`;
  const stdin = { contents, resolveDir: 'client/config', loader: 'ts' };
  await build({ stdin, bundle: true, platform: 'node', format: 'esm', outfile, logLevel: 'warning' });
  const { jsonSchema, documentation } = await import(pathToFileURL(outfile).href);
  mkdirSync('docs', { recursive: true });
  const schemaFile = 'client/config/mirrord-schema.json';
  writeFileSync(schemaFile, JSON.stringify(jsonSchema()));
  execFileSync('node_modules/.bin/biome', ['format', '--write', schemaFile], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync('docs/configuration.md', documentation());
} finally {
  rmSync(folder, { recursive: true });
}
