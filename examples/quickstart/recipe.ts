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
  /** Of RPT: lower where a step has fewer completions. */
  learningRate: number;
  hiddenSize: number;
  numLayers: number;
  /** Operands run from 0 to this. */
  largest: number;
}

export const nativeScale: Scale = { pretrainSteps: 350, sftSteps: 100, rptSteps: 100, rows: 256, completions: 384, learningRate: 5e-4, hiddenSize: 96, numLayers: 3, largest: 59 };
/** Plain JavaScript is some twenty times slower: a smaller model, fewer rows, smaller sums. */
export const portableScale: Scale = { pretrainSteps: 300, sftSteps: 60, rptSteps: 80, rows: 64, completions: 192, learningRate: 1.5e-4, hiddenSize: 64, numLayers: 2, largest: 24 };

/** Supervised fine-tuning on the demonstrations: also what the control of `measure.ts` goes on with. */
export const sftOptions = (seed: number, scale: Scale) =>
  ({ dataset: sumsData(seed, scale.largest).demonstrations, perDeviceTrainBatchSize: 128, maxSteps: scale.sftSteps, learningRate: 5e-4, adamBeta2: 0.95, saveStrategy: 'no' }) as const;

/** Greedy accuracy on sums that no stage trains on. */
export const heldOut = (seed: number, scale: Scale, name: string) => evaluate({ name, dataset: sumsData(seed, scale.largest).heldOut, reward: 'numeric', maxCompletionLength: 4 });

/** The main job: a decoder from nothing, through pre-training, supervised fine-tuning and reinforcement pre-training. */
export function recipe(seed: number, scale: Scale) {
  const { corpus, prompts } = sumsData(seed, scale.largest);
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
    heldOut(seed, scale, 'after pretrain'),
    sft(sftOptions(seed, scale)),
    heldOut(seed, scale, 'after sft'),
    rpt({
      dataset: prompts,
      reward: 'numeric',
      perDeviceTrainBatchSize: scale.completions,
      numGenerations: 8,
      maxCompletionLength: 4,
      maxSteps: scale.rptSteps,
      learningRate: scale.learningRate,
      lrSchedulerType: 'constant',
      saveStrategy: 'no',
    }),
    heldOut(seed, scale, 'after rpt'),
  );
}
