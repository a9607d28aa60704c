export * from './config';
export { generateCompletions, type SamplingFilters } from './generate';
export * from './loss';
export * from './objective';
export { packSequences, prepareRow, type DistillRow, type PrepareRowOptions, type RowTokenizer } from './rows';
export * from './trainer';
