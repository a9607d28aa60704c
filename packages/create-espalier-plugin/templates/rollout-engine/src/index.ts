import { definePlugin } from '@espalier/spec';
import { __camelName__Engine } from './engine.js';

export { __camelName__Engine, type __PascalName__Options } from './engine.js';

/** What Espalier loads: the rollout engine `__name__`. */
export const plugin = definePlugin({
  name: '__package__',
  rolloutEngines: { '__name__': __camelName__Engine },
});
