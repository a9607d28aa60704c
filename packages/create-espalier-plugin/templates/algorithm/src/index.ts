import { definePlugin } from '@espalier/spec';
import { __camelName__Algorithm } from './algorithm.js';

export { __camelName__Algorithm, type __PascalName__Options } from './algorithm.js';

/** What Espalier loads: the algorithm `__name__`. */
export const plugin = definePlugin({
  name: '__package__',
  algorithms: { '__name__': __camelName__Algorithm },
});
