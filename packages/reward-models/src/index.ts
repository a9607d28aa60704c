export * from './config';
export * from './loss';
export { prmObjective, rewardObjective } from './objective';
export * from './pairs';
export * from './prm-trainer';
export * from './reward-trainer';
export * from './steps';
export { scoredPosition, type RowTokenizer } from './tokenizing';
