export * from './collect-groups';
export * from './text-model';
export { encodePrompt, localRolloutEngine, promptText, toTrajectory, type PromptEncoder, type PromptText } from '@espalier/engine/local';
export type { HttpCapabilities } from './http/capabilities';
export { httpRolloutEngine, type HttpRolloutEngine, type HttpRolloutEngineOptions } from './http/http-rollout-engine';
export { httpTextModel, type HttpTextModelOptions } from './http/http-text-model';
export { publishingAdapters } from './http/adapter-publisher';
