import { defineConfig } from 'vitest/config';

export default defineConfig({
  ssr: { resolve: { conditions: ['@espalier/source', 'module', 'node', 'development|production'] } },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'examples/*/*.test.ts', 'tools/**/*.test.ts'],
    maxWorkers: '100%', // by default one processor is left free: of two, half
    pool: 'forks', // native add-ons do not survive worker threads that share a process
    // Numbers are held to references in fp32, whatever this processor multiplies best; tests of bf16 ask for it.
    env: { ESPALIER_MATMUL_PRECISION: process.env.ESPALIER_MATMUL_PRECISION ?? 'fp32' },
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
