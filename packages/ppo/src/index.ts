export * from './adaptive-kl';
export * from './algorithm';
export * from './config';
export * from './experience';
export { ppoPolicyLoss, ppoValueLoss, type PerToken, type PPOPolicyLossInputs, type PPOPolicyLossOptions, type PPOPolicyLossResult, type PPOValueLossInputs, type PPOValueLossOptions, type PPOValueLossResult } from './loss';
export * from './objective';
export * from './running-moments';
export * from './token-rewards';
export * from './trainer';
