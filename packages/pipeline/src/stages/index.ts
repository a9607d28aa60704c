export { evaluate, type EvaluateStageOptions } from './evaluate';
export type { StageModelOptions, TrainingStageOptions } from './options';
export { pretrain, type PretrainStageOptions } from './pretrain';
export { checkRptConfig, createRptTrainer, rpt, rptFlatConfig, type RptFlatConfigInput, type RptStageOptions, type RptTrainerParts } from './rpt';
export { sft, type SftStageOptions } from './sft';
export { startFrom } from './start-from';
