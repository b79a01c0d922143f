// The rules of the house, as tests: who may import what, how long a file may be, that what is generated or written down
// is what is there. They run with the others, so nobody has to remember them.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';

const root = path.join(import.meta.dirname, '..');
const read = (file: string) => readFileSync(path.join(root, file), 'utf8');

/** Tracked and new files, without ignored ones. */
const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((file) => file !== '' && existsSync(path.join(root, file)));
const sources = files.filter((file) => /\.(ts|mjs)$/.test(file) && !file.startsWith('proto/gen/'));
const code = files.filter((file) => /\.(ts|mjs|c|h|cc|py|sh)$/.test(file) && !file.startsWith('proto/gen/'));
const isTest = (file: string) => file.endsWith('.test.ts');

/** A room is a folder whose files may import each other. What a room may import of others: */
const rooms: Record<string, { may: string[] }> = {
  proto: { may: [] },
  'http-filter': { may: ['proto'] },
  'services/runtime': { may: ['proto', 'http-filter'] },
  'services/agent': { may: ['proto', 'services/runtime'] },
  'services/beside': { may: ['proto'] },
  'services/fs-env': { may: ['proto', 'services/runtime'] },
  'services/sniffer': { may: ['proto', 'http-filter', 'services/runtime'] },
  'services/stealer': { may: ['proto', 'http-filter', 'services/runtime'] },
  client: { may: ['proto', 'http-filter'] },
  scripts: { may: [] },
  // Tests and benches of the whole stand outside and may look into every room.
  test: { may: ['*'] },
  bench: { may: ['*'] },
};

/** A library that is imported in few places can be replaced there. Tests may use what they test with. */
const libraries: Record<string, RegExp> = {
  '@bufbuild/protobuf': /^proto\/(gen\/|[a-z-]+\.ts)/,
  '@kubernetes/client-node': /^client\/kube\//,
  '@nats-io/transport-node': /^services\/runtime\/bus\.ts$/,
  nunjucks: /^client\/config\//,
  pino: /^services\/|^client\/[a-z-]*log[a-z-]*\.ts$/,
  re2js: /^http-filter\//,
  'smol-toml': /^client\/config\//,
  yaml: /^client\/(config\/|kube\/parse-yaml\.ts$)/,
};

function roomOf(file: string): string | undefined {
  return Object.keys(rooms).find((room) => file.startsWith(`${room}/`));
}

/** Everything a file asks for: import, export from, dynamic import. */
function importsOf(file: string): string[] {
  const found = read(file).matchAll(
    /(?:^|[\s;{}(])(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\s*\(?\s*['"]([^'"]+)['"]/g,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? '');
}

function roomOfImport(file: string, name: string): string | undefined {
  if (name.startsWith('#proto/')) return 'proto';
  if (name.startsWith('#http-filter/')) return 'http-filter';
  if (name.startsWith('#runtime/')) return 'services/runtime';
  return roomOf(path.posix.join(path.posix.dirname(file), name));
}

describe('layering', () => {
  test('an import stays in its room, or goes to a room it may use', () => {
    const trespasses = sources.flatMap((file) => {
      const room = roomOf(file);
      if (room === undefined) return [];
      const may = rooms[room]?.may ?? [];
      return importsOf(file)
        .filter((name) => name.startsWith('.') || name.startsWith('#'))
        .filter((name) => {
          const other = roomOfImport(file, name);
          return other !== room && !may.includes('*') && (other === undefined || !may.includes(other));
        })
        .map((name) => `${file} -> ${name}`);
    });
    expect(trespasses).toEqual([]);
  });

  test('another room is named by # and never by a relative path', () => {
    const crossings = sources.flatMap((file) => {
      const room = roomOf(file);
      if (room === undefined || rooms[room]?.may.includes('*')) return [];
      return importsOf(file)
        .filter((name) => name.startsWith('.') && roomOfImport(file, name) !== room)
        .map((name) => `${file} -> ${name}`);
    });
    expect(crossings).toEqual([]);
  });

  test('product code imports no test', () => {
    const found = sources
      .filter((file) => !isTest(file) && !/^(test|bench)\/|^vitest/.test(file))
      .flatMap((file) =>
        importsOf(file)
          .filter((name) => /\.test\.ts$|vitest|fast-check/.test(name))
          .map((name) => `${file} -> ${name}`),
      );
    expect(found).toEqual([]);
  });

  test('every folder with code is a room of the table', () => {
    const strays = sources.filter(
      (file) => file.includes('/') && roomOf(file) === undefined && !/^services\/[a-z-]+\/native\//.test(file),
    );
    expect(strays).toEqual([]);
  });

  test('a library is imported only where the table says', () => {
    const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    expect(Object.keys(libraries).sort()).toEqual(Object.keys(dependencies).sort());
    const strays = sources
      .filter((file) => !isTest(file) && !/^(test|bench|scripts)\//.test(file))
      .flatMap((file) => importsOf(file).map((name) => ({ file, name })))
      .filter(({ file, name }) => {
        const owner = Object.keys(libraries).find((library) => name === library || name.startsWith(`${library}/`));
        return owner !== undefined && !libraries[owner]?.test(file);
      })
      .map(({ file, name }) => `${file} -> ${name}`);
    expect(strays).toEqual([]);
  });
});

test('what services import is in the image', () => {
  const wanted = Object.entries(rooms).flatMap(([room, { may }]) => (room.startsWith('services/') ? may : []));
  const [ignored, build] = [read('deploy/Dockerfile.dockerignore'), read('deploy/build-image')];
  const tops = new Set(wanted.map((room) => room.split('/')[0] ?? ''));
  expect([...tops].filter((top) => !ignored.includes(`\n!${top}\n`) || !build.includes(` ${top} `))).toEqual([]);
});

describe('files', () => {
  test('none is longer than 400 lines', () => {
    const long = code
      .map((file) => ({ file, lines: read(file).split('\n').length - 1 }))
      .filter(({ lines }) => lines > 400);
    expect(long).toEqual([]);
  });

  test('none is a drawer for what has no name', () => {
    const drawers = files.filter((file) =>
      file.split('/').some((part) => /^(utils?|helpers?|common|misc|lib)(\.|$)/.test(part)),
    );
    expect(drawers).toEqual([]);
  });

  test('every source begins by saying what it is for', () => {
    const silent = code
      .filter((file) => !isTest(file))
      .filter((file) => !/^(#!.*\n)?(<\?php\n)?(\/\/|\/\*|#) ?\S*|^\/\*\n \*/.test(read(file)));
    expect(silent).toEqual([]);
  });

  test('every descriptor made in native code is closed on exec, so that no program we start inherits it', () => {
    const making =
      /\b(?:open|openat|socket|socketpair|memfd_create|pipe2?|dup|accept4?|epoll_create1?|eventfd)\([^;]*;/g;
    const leaking = files
      .filter((file) => /^(layer\/[^/]+\.c|(?:services\/[a-z-]+|proto\/sockets)\/native\/[^/]+\.cc)$/.test(file))
      .flatMap((file) => [...read(file).matchAll(making)].map(([statement]) => `${file}: ${statement}`))
      // The flags of some are made up before.
      .filter((statement) => !/CLOEXEC|\bflags\b/.test(statement));
    expect(leaking).toEqual([]);
  });

  test('every shell script parses', () => {
    const scripts = files.filter((file) => /^#!.*\bbash\b/.test(read(file).slice(0, 40)));
    expect(scripts).toContain('scripts/setup');
    for (const file of scripts) execFileSync('bash', ['-n', path.join(root, file)]);
  });

  test('none names a folder of the machine it was written on', () => {
    const naming = files.filter((file) => !/\.(png|bin)$/.test(file) && read(file).includes(root));
    expect(naming).toEqual([]);
  });
});

describe('packages', () => {
  const lock = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { version?: string; optionalDependencies?: Record<string, string> }>;
  };

  test('every optional package is in the lock file, also those of other platforms', () => {
    const missing = Object.values(lock.packages)
      .flatMap((entry) => Object.entries(entry.optionalDependencies ?? {}))
      .filter(([, version]) => /^\d/.test(version))
      .filter(([name]) => !lock.packages[`node_modules/${name}`]?.version)
      .map(([name]) => name);
    expect(missing, 'run node scripts/complete-lock.mjs').toEqual([]);
  });

  test('every dependency is pinned and has a row in CONTRIBUTING.md', () => {
    const own = JSON.parse(read('package.json')) as Record<'dependencies' | 'devDependencies', Record<string, string>>;
    const all = Object.entries({ ...own.dependencies, ...own.devDependencies });
    expect(all.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
    const table = read('CONTRIBUTING.md');
    expect(all.filter(([name]) => !table.includes(`| \`${name}\` |`)).map(([name]) => name)).toEqual([]);
  });
});

describe('what is written twice agrees', () => {
  // Starts programs that take seconds on a machine where much else runs.
  test('generated code is what buf generates from the protos', { timeout: 60_000 }, () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'mirrord-gen-'));
    try {
      execFileSync('node_modules/.bin/buf', ['generate', 'proto', '--template', 'proto/buf.gen.yaml', '-o', folder], {
        cwd: root,
        env: { ...process.env, PATH: `${path.join(root, 'node_modules/.bin')}:${process.env['PATH']}` },
      });
      const listed = (at: string) =>
        readdirSync(at, { recursive: true, encoding: 'utf8' })
          .filter((name) => name.endsWith('.ts'))
          .sort();
      expect(listed(path.join(root, 'proto/gen')), 'run npm run generate').toEqual(listed(folder));
      for (const name of listed(folder)) {
        expect(read(`proto/gen/${name}`), 'run npm run generate').toBe(readFileSync(path.join(folder, name), 'utf8'));
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('every error code has a row in ARCHITECTURE.md, with its errno and exit code', async () => {
    const { ERRORS } = await import('../proto/errors.ts');
    const rows = Object.entries(ERRORS).map(
      ([code, row]) => `| ${code} | ${row.status} | ${row.errno} | ${row.move} | ${row.exitCode} |`,
    );
    const text = read('ARCHITECTURE.md');
    expect(rows.filter((row) => !text.includes(row))).toEqual([]);
  });

  test.each(['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'SECURITY.md'])(
    'every path that %s names exists',
    (document) => {
      const tops = new Set(files.map((file) => file.split('/')[0]));
      const named = [...read(document).matchAll(/`([\w.@-]+(?:\/[\w.@*-]+)*\/?)`/g)].map((match) => match[1] ?? '');
      const missing = named
        .filter((name) => name.includes('/') && tops.has(name.split('/')[0] ?? ''))
        .filter((name) => !/^(dist|build|node_modules)\/|\*/.test(name) && !existsSync(path.join(root, name)));
      expect(missing).toEqual([]);
    },
  );
});
