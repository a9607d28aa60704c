export { openEngine, type Engine, type EngineOptions } from './engine';
export type { TokenEvent } from './decode/decoding';
export type { EngineInfo, EngineMemory, LoraOptions } from './protocol';
