import { distillConfig, DistillTrainer, parseDistillConfig } from '@espalier/distill';
import { offlineCommand } from './offline-command';

export const distillCommand = () =>
  offlineCommand({
    name: 'distill',
    summary: "distillation from a larger model of the same vocabulary: on the student's own completions, the teacher's, or the rows'",
    config: distillConfig.shape,
    accepted: ['prompt_completion', 'prompt_only', 'language_modeling'],
    task: { withCompletion: true },
    shown: ['loss', 'grad_norm', 'learning_rate'],
    notes: 'The teacher is --teacher-model-name-or-path; --lmbda is the share of rows on which the student answers itself.',
    check: (args) => void parseDistillConfig(args),
    create: (options) => new DistillTrainer(options),
  });
