import { freemem } from 'node:os';
import type { RunPlan } from '@espalier/trainer';
import { duration } from '../progress';
import { estimateMemory, type MemoryEstimate } from './estimate-memory';
import { estimateTime, type TimeEstimate } from './estimate-time';
import { modelSize } from './model-size';
import { probeRates, type Rates } from './probe';

/** A plan with what it takes. */
export interface EstimatedPlan {
  plan: RunPlan;
  memory: MemoryEstimate;
  time: TimeEstimate;
  rates: Rates;
}

/** Reckons memory and time; a matrix product is timed for it. `known` spares the timing where it was done for a model of the same shape. */
export async function estimatePlan(plan: RunPlan, how: { backend?: string; precision?: 'bf16' | 'fp32' }, known?: Rates): Promise<EstimatedPlan> {
  const rates = known ?? (await probeRates(plan.model.config, { ...how, samples: plan.generation?.completions ?? 0 }));
  return { plan, memory: estimateMemory(plan), time: estimateTime(plan, rates), rates };
}

const whole = (value: number): string => Math.round(value).toLocaleString('en-US');
const several = (count: number, one: string, many = `${one}s`): string => `${whole(count)} ${Math.round(count) === 1 ? one : many}`;
const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e8 ? 2 : 1)} GB`;
const millions = (count: number): string => (count >= 1e9 ? `${(count / 1e9).toFixed(2)} B` : count >= 1e6 ? `${(count / 1e6).toFixed(1)} M` : whole(count));
const perSecond = (rate: number): string => (rate >= 1e12 ? `${(rate / 1e12).toFixed(2)} TFLOP/s` : `${(rate / 1e9).toFixed(rate < 1e10 ? 1 : 0)} GFLOP/s`);

/** What an estimate rests on, in words. */
export const memoryBasis = 'the model\'s shape in fp32, the tokens of the largest micro-batch, and the engine\'s limits (1024 tokens computed at once, 64 samples decoded at once); it was within 20 % of measured runs of SmolLM2-135M';
export const timeBasis = ({ flops }: TimeEstimate, { shape, wide, backend, precision }: Rates): string =>
  `${(flops / 1e9).toFixed(flops < 1e10 ? 2 : 0)} GFLOP a step and a product of ${shape} that just ran at ${perSecond(wide)} on ${backend} in ${precision}; without loading, evaluation and checkpoints, and good to a factor of two`;

/** The plan as lines for people. */
export function planLines({ plan, memory, time, rates }: EstimatedPlan): string[] {
  const size = modelSize(plan.model, plan);
  const { tokens, generation } = plan;
  const what = plan.kind === 'completions' ? 'completion' : 'sequence';
  const lines: [string, string][] = [['model', `${plan.model.reference}: ${plan.model.config.architecture}, ${millions(size.parameters)} parameters, ${size.trainable === size.parameters ? 'all' : millions(size.trainable)} of them trained${plan.lora ? ` (adapters of rank ${plan.lora.rank})` : ''}`]];
  lines.push(['rows', rowsText(plan)]);
  if (generation) {
    lines.push(['prompts', `${generation.promptTokens.toFixed(1)} tokens on average, ${whole(generation.longestPrompt)} the longest`]);
    lines.push(['a round', `${several(generation.prompts, 'prompt')} × ${several(generation.numGenerations, 'completion')} = ${whole(generation.completions)}, at most ${several(generation.maxNewTokens, 'token')} each; for ${several(generation.updates, 'optimiser step')}`]);
  } else if (tokens.measuredRows > 0) lines.push(['tokens', `${tokens.mean.toFixed(1)} a sequence, ${whole(tokens.longest)} the longest${plan.rows !== null && tokens.measuredRows < plan.rows ? ` (of ${whole(tokens.measuredRows)} rows that were tokenised)` : ''}`]);
  lines.push(['batch', `${several(plan.perDeviceTrainBatchSize, what)} × ${plan.gradientAccumulationSteps} accumulated = ${whole(plan.effectiveBatch)} an optimiser step${tokens.step > 0 ? `: ${generation ? 'at most ' : ''}${several(tokens.step, 'token')}` : ''}`]);
  lines.push(['steps', `${whole(plan.steps)}${plan.stepsPerEpoch === null ? '' : `: ${plan.epochs!.toFixed(2).replace(/\.?0+$/, '')} epochs of ${whole(plan.stepsPerEpoch)}`}`]);
  const parts = Object.entries(memory).filter(([name, bytes]) => name !== 'peak' && bytes > 0).map(([name, bytes]) => `${name} ${gigabytes(bytes)}`);
  lines.push(['memory', `about ${gigabytes(memory.peak)} at its peak (${parts.join(', ')}); ${gigabytes(freemem())} are free`]);
  lines.push(['', `from ${memoryBasis}`]);
  if (tokens.step > 0) {
    lines.push(['time', `about ${duration(time.run)}: ${duration(time.step)} a step${time.generation > 0 ? `, ${duration(time.generation)} of it generation` : ''}`]);
    lines.push(['', `from ${timeBasis(time, rates)}`]);
  } else lines.push(['time', 'not known: rows come as a stream, or from a stage before']);
  return lines.map(([name, text]) => `${name.padEnd(9)} ${text}`);
}

function rowsText({ rows, sequences, evalRows, kind }: RunPlan): string {
  const held = evalRows > 0 ? `; ${whole(evalRows)} held out` : '';
  if (rows === null) return `without an end${held}`;
  return `${whole(rows)}${kind === 'rows' && sequences !== rows ? `, which make ${several(sequences ?? 0, 'sequence')}` : ''}${held}`;
}

/** The plan as an object for programs. */
export function planJson({ plan, memory, time, rates }: EstimatedPlan): Record<string, unknown> {
  const size = modelSize(plan.model, plan);
  const { tokens, generation } = plan;
  return {
    trainer: plan.trainer,
    model: { reference: plan.model.reference, architecture: plan.model.config.architecture, parameters: size.parameters, trainable: size.trainable },
    rows: plan.rows,
    eval_rows: plan.evalRows,
    sequences: plan.sequences,
    per_device_train_batch_size: plan.perDeviceTrainBatchSize,
    gradient_accumulation_steps: plan.gradientAccumulationSteps,
    effective_batch: plan.effectiveBatch,
    steps: plan.steps,
    steps_per_epoch: plan.stepsPerEpoch,
    epochs: plan.epochs,
    tokens: { measured_rows: tokens.measuredRows, mean: tokens.mean, longest: tokens.longest, micro_batch: tokens.microBatch, step: tokens.step },
    ...(generation ? { generation: { prompts: generation.prompts, completions: generation.completions, updates: generation.updates, prompt_tokens: generation.promptTokens, max_new_tokens: generation.maxNewTokens } } : {}),
    memory: { bytes: memory, basis: memoryBasis },
    time: { seconds: { step: time.step, generation: time.generation, run: time.run }, flops_per_step: time.flops, rates: { wide: rates.wide, narrow: rates.narrow, backend: rates.backend, precision: rates.precision }, basis: timeBasis(time, rates) },
  };
}
