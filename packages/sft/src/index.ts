export * from './config';
export * from './loss';
export * from './objective';
export * from './perplexity';
export * from './rows';
export * from './trainer';
