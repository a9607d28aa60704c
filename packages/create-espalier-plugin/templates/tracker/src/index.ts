import { definePlugin } from '@espalier/spec';
import { __camelName__Tracker } from './tracker.js';

export { __camelName__Tracker, type __PascalName__Options } from './tracker.js';

/** What Espalier loads: the tracker `__name__`. */
export const plugin = definePlugin({
  name: '__package__',
  trackers: { '__name__': __camelName__Tracker },
});
