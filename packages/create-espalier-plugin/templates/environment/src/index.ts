import { definePlugin } from '@espalier/spec';
import { __camelName__Environment } from './environment.js';

export { __camelName__Environment, type __PascalName__Options, type __PascalName__Row } from './environment.js';

/** What Espalier loads: the environment `__name__`. Samples of a group run side by side, so the factory makes a new one each time. */
export const plugin = definePlugin({
  name: '__package__',
  environments: { '__name__': __camelName__Environment },
});
