export { kindNames, kinds, type Kind } from './kinds';
export { main, run } from './main';
export { readPluginName, type PluginName } from './plugin-name';
export { scaffold, type Scaffolded, type ScaffoldOptions } from './scaffold';
