import { parseSFTConfig, sftConfig, SFTTrainer, type SFTConfigInput } from '@espalier/sft';
import { trainCommand } from './train-command';

export const sftCommand = () =>
  trainCommand({
    name: 'sft',
    summary: 'supervised fine-tuning; pre-training where rows are plain text',
    config: sftConfig.shape,
    rows: { accepted: ['prompt_completion', 'language_modeling'], more: { withCompletion: true } },
    shown: ['loss', 'grad_norm', 'learning_rate'],
    notes: 'Rows have `text`, `messages`, or `prompt` and `completion`.',
    check: (args) => void parseSFTConfig(args as SFTConfigInput),
    async create({ args, model, modelArgs, train, evaluation, callbacks, signal }) {
      const trainer = new SFTTrainer({ model, trainDataset: train, ...(evaluation ? { evalDataset: evaluation } : {}), callbacks, modelArgs, args: args as SFTConfigInput, signal });
      return { trainer, evaluate: () => trainer.evaluate({ signal }) };
    },
  });
