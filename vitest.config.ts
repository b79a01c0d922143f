import { defineConfig } from 'vitest/config';

// Rings of tests (CONTRIBUTING.md): unit and tidy need nothing, layer needs the native build, integration needs root.
const common = { restoreMocks: true, globals: false } as const;

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...common,
          name: 'unit',
          include: ['proto/**/*.test.ts', 'services/**/*.test.ts', 'client/**/*.test.ts'],
        },
      },
      { test: { ...common, name: 'tidy', include: ['test/tidy.test.ts'] } },
      {
        test: {
          ...common,
          name: 'layer',
          include: ['test/layer/**/*.test.ts'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          ...common,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
    ],
  },
});
