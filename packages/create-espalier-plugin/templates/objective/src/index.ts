import { definePlugin } from '@espalier/spec';
import { __camelName__Objective } from './objective.js';

export { __camelName__Objective, type __PascalName__Options } from './objective.js';

/** What Espalier loads: the objective `__name__`. */
export const plugin = definePlugin({
  name: '__package__',
  objectives: { '__name__': __camelName__Objective },
});
