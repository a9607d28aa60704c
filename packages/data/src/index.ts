export * from './arithmetic';
export * from './dataset';
export * from './dataset-by-ref';
export * from './jsonl';
export * from './random';
export * from './rows';
export * from './shuffled-cursor';
