// Rings of tests (CONTRIBUTING.md): unit and tidy need nothing, layer needs the native build, integration, programs and
// peers need root, endurance needs minutes.

import { defineConfig } from 'vitest/config';

const common = {
  restoreMocks: true,
  globals: false,
  // Who looks at memory that was given back finds other bytes there (proto/receive-blocks.ts).
  env: { MIRRORD_WIPE_GIVEN_BACK: '1' },
  setupFiles: 'test/fixtures/guarded-kill.ts',
  // What a test waits for comes within milliseconds; a machine with twenty others on it takes its time.
  expect: { poll: { timeout: 30_000 } },
} as const;
/** For tests that run what is compiled and bundled. */
const built = { ...common, globalSetup: ['scripts/built.mjs'] };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...built,
          name: 'unit',
          maxWorkers: 2,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // 600 modules in one: half a second less for each file that reads a kubeconfig.
          deps: { optimizer: { ssr: { enabled: true, include: ['@kubernetes/client-node'] } } },
          include: [
            'proto/**/*.test.ts',
            'http-filter/**/*.test.ts',
            'services/**/*.test.ts',
            'client/**/*.test.ts',
            'bench/**/*.test.ts',
            'scripts/**/*.test.ts',
          ],
        },
      },
      { test: { ...common, name: 'tidy', include: ['test/tidy.test.ts'] } },
      {
        test: {
          ...built,
          name: 'layer',
          maxWorkers: 2,
          include: ['test/layer/**/*.test.ts'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          ...built,
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          ...built,
          name: 'programs',
          globalSetup: [...built.globalSetup, 'test/programs/setup.ts'],
          include: ['test/programs/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          ...built,
          name: 'peers',
          include: ['test/peers/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          ...built,
          name: 'endurance',
          include: ['test/endurance/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
      {
        test: {
          ...built,
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          exclude: ['test/cluster/**/*.alone.test.ts'],
          globalSetup: [...built.globalSetup, 'test/cluster/setup.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          ...built,
          name: 'cluster-alone',
          include: ['test/cluster/**/*.alone.test.ts'],
          globalSetup: [...built.globalSetup, 'test/cluster/setup.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
    ],
  },
});
