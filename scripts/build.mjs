// Bundles the command line (dist/cli.js and the chunks its commands load when they are used) and the services
// (dist/agent.js, dist/fs-env.js ...): a bundle starts several times faster than the modules it is made of. Does nothing
// when no input has changed since the last time. `node scripts/build.mjs services` leaves the command line out.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
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

const services = readdirSync('services').filter((name) => existsSync(`services/${name}/main.ts`));
const entryPoints = [
  ...(process.argv[2] === 'services' ? [] : [{ in: 'client/cli.ts', out: 'cli' }]),
  ...services.map((name) => ({ in: `services/${name}/main.ts`, out: name })),
  // Threads are started from files of their own.
  { in: 'services/agent/outgoing/worker.ts', out: 'agent-outgoing-worker' },
];
if (isFresh()) process.exit(0);

const { build } = await import('esbuild');
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const result = await build({
  entryPoints,
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  splitting: true,
  minify: true,
  keepNames: true,
  chunkNames: 'chunk-[hash]',
  metafile: true,
  logLevel: 'warning',
  define: { MIRRORD_VERSION: JSON.stringify(version) },
  // CommonJS dependencies ask for Node's own modules by `require`, which an ES module does not have.
  banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
});

const outputs = Object.keys(result.metafile.outputs);
for (const name of readdirSync('dist')) {
  if (!outputs.includes(`dist/${name}`)) rmSync(join('dist', name), { recursive: true });
}
const inputs = ['scripts/build.mjs', 'package.json', ...entryPoints.map((entry) => entry.in)];
inputs.push(...Object.keys(result.metafile.inputs).filter((path) => !inputs.includes(path)));
writeFileSync(stampFile, JSON.stringify({ inputs: stampOf(inputs), outputs }));
console.log(
  `build: ${outputs
    .map((path) => basename(path))
    .filter((name) => !name.startsWith('chunk-'))
    .join(', ')}`,
);
