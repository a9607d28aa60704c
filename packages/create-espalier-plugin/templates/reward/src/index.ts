import { definePlugin } from '@espalier/spec';
import { __camelName__Reward } from './reward.js';

export { __camelName__Reward, type __PascalName__Options } from './reward.js';

/** What Espalier loads: the reward function `__name__`. */
export const plugin = definePlugin({
  name: '__package__',
  rewards: { '__name__': __camelName__Reward },
});
