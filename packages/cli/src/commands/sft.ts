import { parseSFTConfig, sftConfig, SFTTrainer } from '@espalier/sft';
import { offlineCommand } from './offline-command';

export const sftCommand = () =>
  offlineCommand({
    name: 'sft',
    summary: 'supervised fine-tuning; pre-training where rows are plain text',
    config: sftConfig.shape,
    accepted: ['prompt_completion', 'language_modeling'],
    task: { withCompletion: true },
    shown: ['loss', 'grad_norm', 'learning_rate'],
    notes: 'Rows have `text`, `messages`, or `prompt` and `completion`.',
    check: (args) => void parseSFTConfig(args),
    create: (options) => new SFTTrainer(options),
  });
