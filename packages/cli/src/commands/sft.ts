import { parseSFTConfig, sftConfig, SFTTrainer } from '@espalier/sft';
import { offlineCommand } from './offline-command';

export const sftCommand = () =>
  offlineCommand({
    name: 'sft',
    summary: 'supervised fine-tuning; pre-training where rows are plain text',
    config: sftConfig.shape,
    streams: true,
    task: { withCompletion: true },
    shown: ['loss', 'grad_norm', 'learning_rate'],
    notes: 'Rows have `text`, `messages`, `prompt` and `completion`, or `input_ids`.',
    check: (args) => void parseSFTConfig(args),
    create: (options) => new SFTTrainer(options),
  });
