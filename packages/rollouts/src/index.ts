export * from './collect-groups';
export * from './encode-prompt';
export * from './local-rollout-engine';
export * from './text-model';
export * from './trajectory';
