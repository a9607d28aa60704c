import { defineReward, type Reward, type RewardContext, type RewardFunction, type RewardSample } from '@espalier/spec';
import { requirePositive } from '../answer-rewards';
import { arithmeticSteps } from './arithmetic-steps';
import { reasoningOf, reasoningSteps } from './thought';

/** Whether completions are right: above a half; null where that cannot be judged. */
export async function verdicts(correct: RewardFunction, samples: readonly RewardSample[], context: RewardContext): Promise<(boolean | null)[]> {
  const scores = await correct.score(samples, context);
  return scores.map((score) => (score === null ? null : (typeof score === 'number' ? score : score.total) > 0.5));
}

export interface StepsOptions {
  /** Steps that earn the whole reward; fewer earn their share, so that one safe step is not enough. Default 1. */
  minSteps?: number;
  /** What says whether the answer is right: steps of a wrong one then earn nothing. Default: steps count by themselves. */
  correct?: RewardFunction;
  name?: string;
}

/**
 * Steps that are checked: the share of the arithmetic steps of the thought that hold (each different one once), times the share of `minSteps` that there are. A
 * completion without a step earns 0. The first wrong one is told in the note.
 *
 * @example
 * stepsReward({ minSteps: 2, correct: numericReward() });
 */
export function stepsReward(options: StepsOptions = {}): RewardFunction {
  const { minSteps = 1, correct } = options;
  requirePositive('minSteps', minSteps);
  return defineReward({
    name: options.name ?? 'steps',
    async score(samples, context) {
      const right = correct ? await verdicts(correct, samples, context) : null;
      return samples.map((sample, i): Reward | null => {
        if (right && right[i] === null) return null;
        const steps = [...new Map(arithmeticSteps(reasoningOf(sample)).map((step) => [step.text, step])).values()];
        const holding = steps.filter((step) => step.right).length;
        const share = steps.length === 0 ? 0 : holding / steps.length;
        const wrong = steps.find((step) => !step.right);
        return { total: right && !right[i] ? 0 : share * Math.min(1, steps.length / minSteps), components: { steps: steps.length, right: holding }, ...(wrong ? { note: `${wrong.text} does not hold` } : {}) };
      });
    },
  });
}

export interface DepthOptions {
  /** Different steps that earn the whole reward; more earn no more. Default 5. */
  target?: number;
  /** What says whether the answer is right: depth counts only then. */
  correct: RewardFunction;
  name?: string;
}

/**
 * How deep a right answer is reasoned: different steps of the thought (lines and sentences; repeating one adds nothing) over `target`, at most 1; 0 for a wrong
 * answer, null where it cannot be judged.
 *
 * @example
 * depthReward({ target: 4, correct: numericReward() });
 */
export function depthReward(options: DepthOptions): RewardFunction {
  const { target = 5, correct } = options;
  requirePositive('target', target);
  return defineReward({
    name: options.name ?? 'depth',
    async score(samples, context) {
      const right = await verdicts(correct, samples, context);
      return samples.map((sample, i): Reward | null => {
        if (right[i] === null) return null;
        const steps = reasoningSteps(reasoningOf(sample)).length;
        return { total: right[i] ? Math.min(1, steps / target) : 0, components: { steps } };
      });
    },
  });
}
