import { EspalierError } from '@espalier/spec';
import type { TrainingArguments } from './arguments';

/**
 * The best checkpoint is chosen among those that were evaluated: both must fall on the same steps.
 * @throws EspalierError `bad_config` with values that would do
 */
export function checkBestModel(args: TrainingArguments, evaluates: boolean): void {
  const field = args.loadBestModelAtEnd ? '`load_best_model_at_end`' : args.earlyStoppingPatience !== undefined ? '`early_stopping_patience`' : args.saveStrategy === 'best' ? '`save_strategy` best' : null;
  if (field === null) return;
  const evalStrategy = args.evalStrategy ?? (args.evalSteps ? 'steps' : 'no');
  if (!evaluates) throw new EspalierError('bad_config', `${field} needs an evaluation, and there is nothing to evaluate on`, { fix: 'give an `evalDataset`' });
  if (evalStrategy === 'no') throw new EspalierError('bad_config', `${field} needs an evaluation, and \`eval_strategy\` is no`, { fix: 'set `eval_steps`, or `eval_strategy` epoch' });
  if (!args.loadBestModelAtEnd || args.saveStrategy === 'best') return;
  if (args.saveStrategy !== evalStrategy) throw new EspalierError('bad_config', `${field}: checkpoints are written by \`save_strategy\` ${args.saveStrategy} and evaluated by \`eval_strategy\` ${evalStrategy}`, { fix: `\`save_strategy\` ${evalStrategy}, or best` });
  const evalSteps = args.evalSteps ?? args.loggingSteps;
  if (evalStrategy === 'steps' && args.saveSteps % evalSteps !== 0) {
    const below = Math.floor(args.saveSteps / evalSteps) * evalSteps;
    throw new EspalierError('bad_config', `${field}: \`save_steps\` ${args.saveSteps} is not a multiple of \`eval_steps\` ${evalSteps}, so checkpoints would go without an evaluation`, { fix: `${below > 0 ? `${below} or ` : ''}${below + evalSteps} would be, or \`save_strategy\` best` });
  }
}
