// `node bench/run.mjs NAME [ARGUMENT...]` bundles bench/NAME.ts and runs it: Node 20 does not read TypeScript.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [name] = process.argv.splice(2, 1);
if (name === undefined || !existsSync(join(root, `bench/${name}.ts`))) {
  const names = readdirSync(join(root, 'bench')).filter((file) => file.endsWith('.ts'));
  console.error(`usage: node bench/run.mjs NAME, see bench/README.md; files: ${names.join(' ')}`);
  process.exit(2);
}

/** A file of the tests finds its neighbours by the folder it is in, also when it is bundled elsewhere; so do addons. */
function keepFolders({ onLoad }) {
  onLoad({ filter: /\.ts$/ }, ({ path }) => ({
    loader: 'ts',
    contents: readFileSync(path, 'utf8')
      .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)))
      .replaceAll(
        'import.meta.url',
        path.startsWith(join(root, 'services')) || path.startsWith(join(root, 'proto'))
          ? JSON.stringify(pathToFileURL(path).href)
          : 'import.meta.url',
      ),
  }));
}

const outfile = join(root, `build/bench/${name}.mjs`);
await build({
  entryPoints: [join(root, `bench/${name}.ts`)],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  packages: 'external',
  logLevel: 'warning',
  plugins: [{ name: 'own-folder', setup: keepFolders }],
});
process.chdir(root);
await import(pathToFileURL(outfile).href);
