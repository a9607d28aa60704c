// What a backend is checked with, without vitest: for a program that reports by itself, as `espalier doctor --selftest` does.
export * from './testing/backend-checks';
