export { cosineReward, exactReward, normalizeText, numericReward, type AnswerOptions, type CosineOptions, type ExactOptions } from './answer-rewards';
export * from './compose-rewards';
export { answerNumber, lastNumber } from './numbers';
export * from './reward-by-name';
export * from './shape-rewards';
