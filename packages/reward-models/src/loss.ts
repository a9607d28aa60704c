export { prmLoss, type PRMLossResult } from './prm-loss';
export { rewardLoss, type RewardLossOptions, type RewardLossResult } from './reward-loss';
