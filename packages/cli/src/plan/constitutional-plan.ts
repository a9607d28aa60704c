import type { ConstitutionalConfig } from '@espalier/constitutional';
import { readPlannedModel } from '@espalier/trainer';
import type { Output } from '../output';
import { duration } from '../progress';
import { engineLimits } from './estimate-memory';
import { modelSize } from './model-size';
import { probeRates } from './probe';

/** What a constitutional run asks its models for, at most: texts that are generated, their tokens, questions whose answer is read off log-probs. */
export interface ConstitutionalWork {
  texts: number;
  tokens: number;
  questions: number;
}

/** Counts the work on `prompts` rows. Rounds default to 4; a constitution with fewer principles has fewer. */
export function constitutionalWork(prompts: number, config: ConstitutionalConfig): ConstitutionalWork {
  const work = { texts: 0, tokens: 0, questions: 0 };
  const generate = (texts: number, length: number) => {
    work.texts += texts;
    work.tokens += texts * length;
  };
  const rounds = config.numRevisions ?? 4;
  const revisions = (answers: number) => {
    generate(answers, config.maxCompletionLength);
    if (!config.skipCritique) generate(answers * rounds, config.maxCritiqueLength);
    generate(answers * rounds, config.maxRevisionLength);
  };
  if (config.produce.includes('critique')) revisions(prompts);
  if (config.produce.includes('preferences')) {
    const pairs = prompts * config.pairsPerPrompt;
    if (config.pairs === 'samples') generate(2 * pairs, config.maxCompletionLength);
    else if (!config.produce.includes('critique')) revisions(pairs);
    work.questions = pairs * config.principlesPerLabel * (config.orders === 'both' ? 2 : 1);
    if (config.chainOfThought) generate(work.questions, config.maxReasoningLength);
  }
  return work;
}

/** Prints the plan of a constitutional run whose judge is the model itself, or as large as it. */
export async function reportConstitutionalPlan(model: string, prompts: number, config: ConstitutionalConfig, how: { backend?: string; precision?: 'bf16' | 'fp32' }, output: Output): Promise<void> {
  const planned = await readPlannedModel(model);
  const size = modelSize(planned, { lora: null, engine: {} });
  const work = constitutionalWork(prompts, config);
  const width = Math.max(1, Math.min(engineLimits.samples, config.batchSize));
  const rates = await probeRates(planned.config, { ...how, samples: width });
  const c = planned.config;
  const cache = Math.min(engineLimits.cacheBytes, width * Math.min(c.maxPositions, 1024) * c.numLayers * 2 * c.numKvHeads * c.headDim * 4);
  const bytes = 4 * size.parameters + cache + 200e6;
  const seconds = (work.tokens * 2 * (size.blocks + size.head)) / rates.narrow;
  const basis = `the longest texts that are allowed, and a product of ${width} rows that just ran at ${(rates.narrow / 1e9).toFixed(1)} GFLOP/s on ${rates.backend} in ${rates.precision}; texts that end earlier take less`;
  await output.result({ dry_run: true, rows: prompts, ...work, memory: { bytes: { weights: 4 * size.parameters, generation: cache, runtime: 200e6, peak: bytes } }, time: { seconds: { run: seconds }, basis } });
  output.line(`rows      ${prompts}`);
  output.line(`to write  at most ${work.texts} texts, ${work.tokens} tokens`);
  output.line(`to judge  ${work.questions} questions`);
  output.line(`memory    about ${(bytes / 1e9).toFixed(1)} GB: the model in fp32, and what ${width} texts of 1024 tokens keep; a judge or critic of its own comes on top`);
  output.line(`time      at most about ${duration(seconds)}, from ${basis}`);
  output.line('nothing was written');
}
