export { choiceReward, type ChoiceOptions } from './choice-reward';
export { countdownReward, type CountdownOptions } from './countdown-reward';
export { jsonReward, type JsonOptions } from './json-reward';
export { listReward, setReward, type ListOptions } from './list-rewards';
export { mathAnswerIs, mathReward, type MathOptions } from './math-reward';
export { rowReward, type RowRewardOptions } from './row-reward';
