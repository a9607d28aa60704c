import { characterTokenizer } from '@espalier/models';
import { evaluate, pipeline, pretrain, rpt, sft } from '@espalier/pipeline';
import { sumsData } from './sums';

/** How much of each stage: what three minutes on two cores allow, with the Rust kernels and without. */
export interface Scale {
  pretrainSteps: number;
  sftSteps: number;
  rptSteps: number;
  /** Rows of a pre-training step. */
  rows: number;
  /** Completions of an RPT step, eight a prompt. */
  completions: number;
  hiddenSize: number;
  numLayers: number;
}

export const nativeScale: Scale = { pretrainSteps: 350, sftSteps: 100, rptSteps: 100, rows: 256, completions: 384, hiddenSize: 96, numLayers: 3 };
/** Plain JavaScript is some twenty times slower: a smaller model, fewer rows. */
export const portableScale: Scale = { pretrainSteps: 350, sftSteps: 60, rptSteps: 60, rows: 64, completions: 128, hiddenSize: 64, numLayers: 2 };

/** Supervised fine-tuning on the demonstrations: also what the control of `measure.ts` goes on with. */
export const sftOptions = (seed: number, scale: Scale) =>
  ({ dataset: sumsData(seed).demonstrations, perDeviceTrainBatchSize: 128, maxSteps: scale.sftSteps, learningRate: 5e-4, adamBeta2: 0.95, saveStrategy: 'no' }) as const;

/** Greedy accuracy on sums that no stage trains on. */
export const heldOut = (seed: number, name: string) => evaluate({ name, dataset: sumsData(seed).heldOut, reward: 'numeric', maxCompletionLength: 4 });

/** The main job: a decoder from nothing, through pre-training, supervised fine-tuning and reinforcement pre-training. */
export function recipe(seed: number, scale: Scale) {
  const { corpus, prompts } = sumsData(seed);
  const { hiddenSize, numLayers } = scale;
  return pipeline(
    pretrain({
      model: { hiddenSize, numLayers, numHeads: 4, intermediateSize: 3 * hiddenSize, maxPositions: 32, initializerRange: 0.05 },
      tokenizer: characterTokenizer('0123456789+='),
      dataset: corpus,
      perDeviceTrainBatchSize: scale.rows,
      maxSteps: scale.pretrainSteps,
      learningRate: 3e-3,
      warmupSteps: 40,
      adamBeta2: 0.95,
      saveStrategy: 'no',
    }),
    heldOut(seed, 'after pretrain'),
    sft(sftOptions(seed, scale)),
    heldOut(seed, 'after sft'),
    rpt({
      dataset: prompts,
      reward: 'numeric',
      perDeviceTrainBatchSize: scale.completions,
      numGenerations: 8,
      maxCompletionLength: 4,
      maxSteps: scale.rptSteps,
      learningRate: 5e-4,
      lrSchedulerType: 'constant',
      saveStrategy: 'no',
    }),
    heldOut(seed, 'after rpt'),
  );
}
