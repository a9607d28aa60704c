export { openEngine, type Engine, type EngineOptions } from './engine';
export type { EngineInfo, EngineMemory, LoraOptions } from './protocol';
