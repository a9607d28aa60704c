import { OfflineTrainer, type OfflineTrainerOptions } from '@espalier/trainer';
import { parsePRMConfig, type PRMConfigInput } from './config';
import { prmObjective } from './objective';
import { packSteps, tokenizeSteps, type StepExample } from './steps';
import { tokenizing } from './tokenizing';

/** What {@link PRMTrainer} takes. An engine that is given must have been opened with `scalarHead: true`. */
export interface PRMTrainerOptions extends OfflineTrainerOptions {
  /** TRL's `PRMConfig` in camelCase. */
  args?: PRMConfigInput;
}

/**
 * A process reward model: the scalar head gives, at the end of every step, the log-odds that the step is right. Rows: `prompt`, `completions` (the steps)
 * and `labels` (one a step).
 *
 * TRL (1.9; later releases have none) classifies tokens with two labels. Of two logits only the difference counts, and that is the scalar: loss and
 * derivative with respect to the hidden states are the same when the head is w₁ − w₀ and the two biases are equal.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 *
 * @example
 * const trainer = new PRMTrainer({ model: 'my-model', trainDataset: 'steps.jsonl', args: { outputDir: 'runs/prm', stepSeparator: '\n' } });
 * await trainer.train();
 * await trainer.close();
 */
export class PRMTrainer extends OfflineTrainer<StepExample> {
  constructor(options: PRMTrainerOptions) {
    const args = parsePRMConfig(options.args);
    const { maxLength, maxCompletionLength, stepSeparator, trainOnLastStepOnly } = args;
    super(options, {
      name: 'prm',
      args,
      objective: prmObjective(),
      engine: { scalarHead: true },
      prepare(row, { engine }, origin, set) {
        const { tokenizer, maxLength: fits } = tokenizing(engine, maxLength);
        return tokenizeSteps(row, tokenizer, { maxLength: fits, maxCompletionLength, stepSeparator, trainOnLastStepOnly: trainOnLastStepOnly && set === 'train', origin });
      },
      collate: (examples) => packSteps(examples),
    });
  }
}
