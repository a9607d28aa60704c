import type { Dataset } from '@espalier/data';
import type { RewardFunction } from '@espalier/spec';

/** What an algorithm gets to learn from. */
export interface LearnsContext {
  /** Folder of the shared start: the quickstart's small model after pre-training and SFT. */
  model: string;
  /** Sums as prompts, with the right answer. */
  prompts: Dataset;
  /** Checks the answer; in the control run its scores are shuffled over the completions of a call. */
  reward: RewardFunction;
  /** A folder of this run's own. */
  outputDir: string;
  seed: number;
  /** Run on the caller's thread (no build needed). */
  inline: boolean;
  /** Arguments that on-policy trainers share: completions a step, their number a prompt, their length, no checkpoints. */
  args: {
    perDeviceTrainBatchSize: number;
    numGenerations: number;
    maxCompletionLength: number;
    maxSteps: number;
    learningRate: number;
    lrSchedulerType: 'linear';
    saveStrategy: 'no';
    adamBeta2: number;
    outputDir: string;
    seed: number;
  };
}

/** An algorithm: trains from `context.model` and says where the trained model lies. */
export interface LearnsEntry {
  /** How far the policy may go from its start: KL(π ‖ π_start) of a completion, in nats. */
  klBudget: number;
  run(context: LearnsContext): Promise<{ model: string }>;
}
