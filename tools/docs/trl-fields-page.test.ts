import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { pagePath, trlFieldsPage } from './trl-fields-page.mts';

it('docs/trl-fields.md is the table that the command line reads', () => {
  expect(readFileSync(pagePath, 'utf8'), 'npx tsx --conditions @espalier/source tools/docs/trl-fields-page.mts writes it').toBe(trlFieldsPage());
});
