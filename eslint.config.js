import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

/** Packages import downward only: a floor lists the floors that it may import from. `1t` is `tensor`, which stands on `native`; `4t` is `trainer`, which stands on `rollouts`. */
const floors = ['0', '1', '1t', '2', '3', '4', '4t', '5', '6', '7', '8'];
const depConstraints = floors.map((floor, i) => ({ sourceTag: `floor:${floor}`, onlyDependOnLibsWithTags: floors.slice(0, i).map((f) => `floor:${f}`) }));

/** Conformance suites are for tests: any package's tests may import them, whatever its floor, and nothing else may. */
const boundaries = (allow) => ({ '@nx/enforce-module-boundaries': ['error', { depConstraints, allow, enforceBuildableLibDependency: false }] });
const tensorflowOnlyBelow = { group: ['@tensorflow/*'], message: 'TensorFlow.js is imported by the packages tensor and native alone.' };
const testkitOnlyInTests = { group: ['@espalier/testkit', '@espalier/testkit/*'], message: 'The testkit is a development dependency: tests alone import it.' };
const restricted = (...patterns) => ({ 'no-restricted-imports': ['error', { patterns }] });

export default tseslint.config(
  { ignores: ['**/dist/**', '**/target/**', '**/node_modules/**', '.nx/**', '.cache/**', 'runs/**', 'examples/third-party-plugin/**', 'tools/compat/plugin-v1/**', '**/*.config.ts', 'tsup.base.ts'] },
  ...tseslint.configs.recommended,
  { plugins: { '@nx': nx } },
  { files: ['packages/*/src/**/*.ts', 'examples/**/*.{ts,js}'], rules: boundaries([]) },
  { files: ['packages/*/src/**/*.test.ts'], rules: boundaries(['@espalier/testkit']) },
  { files: ['packages/{tensor,native}/src/**/*.ts'], ignores: ['**/*.test.ts'], rules: restricted(testkitOnlyInTests) },
  { files: ['packages/**/*.ts', 'examples/**/*.{ts,js}'], ignores: ['packages/{tensor,native}/**'], rules: restricted(tensorflowOnlyBelow, testkitOnlyInTests) },
  { files: ['packages/**/*.test.ts', 'examples/**/*.test.ts'], ignores: ['packages/{tensor,native}/**'], rules: restricted(tensorflowOnlyBelow) },
  {
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-restricted-syntax': ['error', { selector: 'ExportDefaultDeclaration', message: 'Named exports only.' }],
    },
  },
  { files: ['*.js', '*.ts', '**/*.config.{js,ts}'], rules: { 'no-restricted-syntax': 'off' } },
);
