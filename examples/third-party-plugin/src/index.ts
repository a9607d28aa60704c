import { definePlugin } from '@espalier/spec';
import { readability } from './readability.js';

export { readability, type ReadabilityOptions } from './readability.js';
export { readabilityIndex, type ReadabilityIndex } from './readability-index.js';

/** What Espalier loads: the reward function `readability`. */
export const plugin = definePlugin({
  name: 'espalier-plugin-readability',
  rewards: { readability },
});
