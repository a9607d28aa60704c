import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { enginePage, pagePath } from './engine-page.mts';

it('docs/engine.md is what the kernels and the facts of the backends say', () => {
  expect(readFileSync(pagePath, 'utf8'), 'npx tsx --conditions @espalier/source tools/docs/engine-page.mts writes it').toBe(enginePage());
});
