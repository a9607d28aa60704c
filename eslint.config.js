import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';

/** Packages import downward only: a floor lists the floors that it may import from. `1t` is `tensor`, which stands on `native`. */
const floors = ['0', '1', '1t', '2', '3', '4', '5', '6', '7', '8'];
const depConstraints = floors.map((floor, i) => ({ sourceTag: `floor:${floor}`, onlyDependOnLibsWithTags: floors.slice(0, i).map((f) => `floor:${f}`) }));

const tensorflowOnlyBelow = {
  'no-restricted-imports': ['error', { patterns: [{ group: ['@tensorflow/*'], message: 'TensorFlow.js is imported by the packages tensor and native alone.' }] }],
};

export default tseslint.config(
  { ignores: ['**/dist/**', '**/target/**', '**/node_modules/**', '.nx/**', '.cache/**', 'runs/**', '**/*.config.ts', 'tsup.base.ts'] },
  ...tseslint.configs.recommended,
  { plugins: { '@nx': nx } },
  {
    files: ['packages/*/src/**/*.ts', 'examples/**/*.{ts,js}'],
    rules: { '@nx/enforce-module-boundaries': ['error', { depConstraints, allow: [], enforceBuildableLibDependency: false }] },
  },
  { files: ['packages/**/*.ts', 'examples/**/*.{ts,js}'], ignores: ['packages/tensor/**', 'packages/native/**'], rules: tensorflowOnlyBelow },
  {
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-restricted-syntax': ['error', { selector: 'ExportDefaultDeclaration', message: 'Named exports only.' }],
    },
  },
  { files: ['*.js', '*.ts', '**/*.config.{js,ts}'], rules: { 'no-restricted-syntax': 'off' } },
);
