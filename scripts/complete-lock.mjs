// Run after a change of dependencies. A registry mirror that carries only this machine's platform makes npm leave the
// optional packages of other platforms out of package-lock.json, and `npm ci` then refuses the lock file wherever it sees
// them missing. This adds what their names and pins say; npm fills in the rest where it installs them.
import { readFileSync, writeFileSync } from 'node:fs';

const operatingSystems = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
];
const processors = ['arm64', 'arm', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64'];

/** The platform a package's name ends with: `@rollup/rollup-linux-arm64-musl`, `@esbuild/darwin-x64`. */
function platformOf(name) {
  const words = name.split('/').at(-1).split('-');
  const os = operatingSystems.find((word) => words.includes(word));
  const cpu = processors.find((word) => words.includes(word)) ?? (words.includes('armv7') ? 'arm' : undefined);
  if (!os || !cpu) throw new Error(`${name} does not name a platform`);
  const libc = words.includes('musl') ? ['musl'] : words.includes('gnu') && os === 'linux' ? ['glibc'] : undefined;
  return { cpu: [cpu], ...(libc ? { libc } : {}), os: [os] };
}

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
const added = [];
for (const owner of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(owner.optionalDependencies ?? {})) {
    const place = `node_modules/${name}`;
    if (lock.packages[place]?.version || !/^\d+\.\d+\.\d+$/.test(version)) continue;
    lock.packages[place] = { version, ...platformOf(name), ...(owner.dev ? { dev: true } : {}), optional: true };
    added.push(name);
  }
}
const [first, ...rest] = Object.entries(lock.packages);
lock.packages = Object.fromEntries([first, ...rest.sort(([a], [b]) => (a < b ? -1 : 1))]);
writeFileSync('package-lock.json', `${JSON.stringify(lock, null, 2)}\n`);
console.log(added.length === 0 ? 'complete already' : `added ${added.join(', ')}`);
