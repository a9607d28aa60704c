export * from './collect-groups';
export * from './text-model';
export { encodePrompt, localRolloutEngine, promptText, toTrajectory, type PromptEncoder, type PromptText } from '@espalier/engine/local';
