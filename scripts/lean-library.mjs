// A plugin of esbuild for @kubernetes/client-node: of its two megabytes the command line wants how a cluster is reached and as
// whom. 5 ms of a start that way, 40 with everything (docs/benchmarks.md).

import { build } from 'esbuild';

const LIBRARY = '@kubernetes/client-node';

/** All that is imported from it but types. */
const WANTED = `export { KubeConfig } from '${LIBRARY}';`;

/** What it imports for one class of each, by the name it imports. */
const SUBSTITUTES = {
  // Node has the same, and loads it when it is first asked for.
  'node-fetch': `
    export function Headers(...given) { return new globalThis.Headers(...given); }
    export default (...given) => globalThis.fetch(...given);
    export const AbortError = DOMException, FetchError = TypeError;
  `,
  // Loaded by who has such a proxy.
  'socks-proxy-agent':
    "export function SocksProxyAgent(...given) { return new (require('socks-proxy-agent').SocksProxyAgent)(...given); }",
};

/** It does not say that a module of it which nobody asks for can be left out. */
const leaveOut = {
  name: 'leave-out',
  setup(inner) {
    inner.onResolve({ filter: /^(?:node-fetch|socks-proxy-agent)$/ }, ({ path, kind }) =>
      kind === 'require-call' ? undefined : { path, namespace: 'substitute', sideEffects: false },
    );
    inner.onLoad({ filter: /.*/, namespace: 'substitute' }, ({ path }) => ({
      contents: SUBSTITUTES[path],
      resolveDir: process.cwd(),
    }));
    inner.onResolve({ filter: /./ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
      if (pluginData === leaveOut || !(path === LIBRARY || importer.includes(`/${LIBRARY}/`))) return;
      const found = await inner.resolve(path, { kind, importer, resolveDir, pluginData: leaveOut });
      return found.path.includes(`/${LIBRARY}/`) ? { ...found, sideEffects: false } : found;
    });
  },
};

/** Bundled by itself first: only of what is loaded at once does esbuild leave out what nobody uses. */
export const leanLibrary = {
  name: 'lean-library',
  setup(outer) {
    outer.onResolve({ filter: new RegExp(`^${LIBRARY}$`) }, ({ path }) => ({ path, namespace: 'lean' }));
    outer.onLoad({ filter: /.*/, namespace: 'lean' }, async () => {
      const { outputFiles } = await build({
        stdin: { contents: WANTED, resolveDir: process.cwd() },
        bundle: true,
        write: false,
        platform: 'node',
        target: 'node20.19',
        format: 'esm',
        logLevel: 'warning',
        plugins: [leaveOut],
      });
      return { contents: outputFiles[0].text };
    });
  },
};
