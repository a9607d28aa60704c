import { definePlugin } from '@espalier/spec';
import { __camelName__Stage } from './stage.js';

export { __camelName__Stage, type __PascalName__Options } from './stage.js';

/** What Espalier loads: the stage `__name__`. */
export const plugin = definePlugin({
  name: '__package__',
  stages: { '__name__': __camelName__Stage },
});
