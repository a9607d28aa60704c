// Plugins that pages speak of and that are somebody's: what the compiler knows of them when it checks the pages.
declare module 'espalier-plugin-brevity' {
  import type { RewardFunction } from '@espalier/spec';
  export const plugin: { specVersion: 'v1'; name: 'espalier-plugin-brevity'; rewards: { brevity: (options?: { maxLength?: number }) => RewardFunction } };
}
