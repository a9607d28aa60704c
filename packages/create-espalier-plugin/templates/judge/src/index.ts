import { definePlugin } from '@espalier/spec';
import { __camelName__Judge } from './judge.js';

export { __camelName__Judge, type __PascalName__Options } from './judge.js';

/** What Espalier loads: the judge `__name__`. */
export const plugin = definePlugin({
  name: '__package__',
  judges: { '__name__': __camelName__Judge },
});
