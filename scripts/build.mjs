// Bundles the command line (dist/cli.cjs, with its compiled code beside it) and the services (dist/agent.js,
// dist/fs-env.js ...): a bundle starts several times faster than the modules it is made of. Does nothing when no input has
// changed since the last time. `node scripts/build.mjs services` leaves the command line out.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '..'));
const stampFile = 'dist/.inputs.json';

/** Size and time of every file the bundles were made from; a changed one shows. */
function stampOf(inputs) {
  return inputs.map((path) => {
    const at = existsSync(path) ? statSync(path) : { size: -1, mtimeMs: 0 };
    return [path, at.size, at.mtimeMs];
  });
}

function isFresh() {
  if (!existsSync(stampFile)) return false;
  const { inputs, outputs } = JSON.parse(readFileSync(stampFile, 'utf8'));
  const paths = inputs.map(([path]) => path);
  return (
    entryPoints.every((entry) => paths.includes(entry.in)) &&
    outputs.every((path) => existsSync(path)) &&
    JSON.stringify(stampOf(paths)) === JSON.stringify(inputs)
  );
}

const withClient = process.argv[2] !== 'services';
const client = { in: 'client/cli.ts', out: 'cli' };
const services = readdirSync('services').filter((name) => existsSync(`services/${name}/main.ts`));
const entryPoints = [
  ...(withClient ? [client] : []),
  ...services.map((name) => ({ in: `services/${name}/main.ts`, out: name })),
];
if (isFresh()) process.exit(0);

const { build } = await import('esbuild');
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const common = {
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  // Not identifiers: short ones whose names are kept are given them anew at each evaluation, a closure for 0.3 µs.
  minifyWhitespace: true,
  minifySyntax: true,
  metafile: true,
  write: false,
  logLevel: 'warning',
};

/** Each file in its place whole, and those that others import first: who starts meanwhile has the former or the next. */
function put({ outputFiles }) {
  mkdirSync('dist', { recursive: true });
  const isEntry = ({ path }) => !basename(path).startsWith('chunk-');
  for (const { path, contents } of outputFiles.sort((a, b) => isEntry(a) - isEntry(b))) {
    writeFileSync(`${path}.new`, contents);
    renameSync(`${path}.new`, path);
  }
}

const define = { MIRRORD_VERSION: JSON.stringify(version) };
const servicesBuilt = await build({
  ...common,
  entryPoints: entryPoints.filter((entry) => entry !== client),
  format: 'esm',
  splitting: true,
  chunkNames: 'chunk-[hash]',
  define,
  // CommonJS dependencies ask for Node's own modules by `require`, which an ES module does not have.
  banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
});
put(servicesBuilt);
const clientBuilt = withClient ? await buildClient() : { metafile: { inputs: {}, outputs: {} } };

/**
 * One script, a function of `require` and its own path: read in one go and with its code compiled beforehand, where modules
 * are waited for one wave after another. What a command does not need of it costs next to nothing.
 */
async function buildClient() {
  const { leanLibrary } = await import('./lean-library.mjs');
  const built = await build({
    ...common,
    entryPoints: [client],
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    // Read as Latin-1, which takes no decoding.
    charset: 'ascii',
    supported: { 'dynamic-import': false },
    define: { ...define, 'import.meta.url': '__url' },
    plugins: [leanLibrary],
    banner: { js: "(function(require,module,__file){const __url=require('node:url').pathToFileURL(__file).href;" },
    footer: { js: '})' },
  });
  // Code of another script must never be found beside this one.
  rmSync('dist/cli.code', { force: true });
  put(built);
  execFileSync(process.execPath, ['scripts/compile.mjs', 'dist/cli.cjs', 'dist/cli.code.new'], { stdio: 'inherit' });
  renameSync('dist/cli.code.new', 'dist/cli.code');
  built.metafile.outputs['dist/cli.code'] = {};
  return built;
}

const metafiles = [clientBuilt.metafile, servicesBuilt.metafile];
const outputs = metafiles.flatMap((metafile) => Object.keys(metafile.outputs));
for (const name of readdirSync('dist')) {
  if (!outputs.includes(`dist/${name}`)) rmSync(join('dist', name), { recursive: true });
}
const inputs = [
  'scripts/build.mjs',
  'scripts/compile.mjs',
  'scripts/lean-library.mjs',
  'package.json',
  ...entryPoints.map((entry) => entry.in),
];
const sources = metafiles.flatMap((metafile) => Object.keys(metafile.inputs));
inputs.push(...new Set(sources.filter((path) => !inputs.includes(path))));
writeFileSync(stampFile, JSON.stringify({ inputs: stampOf(inputs), outputs }));
console.log(
  `build: ${outputs
    .map((path) => basename(path))
    .filter((name) => !name.startsWith('chunk-'))
    .join(', ')}`,
);
