export * from './decode/incremental-text';
export * from './encode-prompt';
export * from './local-rollout-engine';
export * from './trajectory';
