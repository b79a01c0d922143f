// The part of nunjucks that template.ts uses.

declare module 'nunjucks' {
  export class Environment {
    constructor(loader: null, options: { autoescape: boolean; throwOnUndefined: boolean });
    addGlobal(name: string, value: unknown): void;
    addFilter(name: string, filter: (value: unknown, ...args: unknown[]) => unknown): void;
    renderString(text: string, variables: Record<string, unknown>): string;
  }
  export const runtime: { memberLookup: (object: unknown, name: unknown) => unknown };
  const nunjucks: { readonly Environment: typeof Environment; readonly runtime: typeof runtime };
  // biome-ignore lint/style/noDefaultExport: the library is one object
  export default nunjucks;
}
