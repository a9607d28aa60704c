export * from './config';
export * from './corpus-questions';
export * from './kl';
export * from './lm-loss';
export * from './prefix-match';
export * from './rpt';
export * from './trainer';
