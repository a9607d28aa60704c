import { hash32 } from '@espalier/data';
import { EspalierError, throwIfAborted, type TextModel } from '@espalier/spec';
import { policyPrompt } from './critique-revise';
import { runRows, type RowJobOptions } from './row-job';
import { completionColumn, conversationText, human, plainStops, promptTurns, renderTurns, type Prompt, type PromptFormat } from './turns';

/** The additive criteria of Self-Rewarding Language Models (2401.10020, Fig. 2), in our words: one point each. */
export const additiveCriteria: readonly string[] = [
  'the answer is relevant and says something about what was asked, even if it is incomplete',
  'the answer deals with a substantial part of the question, without settling it',
  'the answer settles the basic elements of the question usefully, wherever it comes from',
  'the answer is clearly written as an assistant would, addresses the question directly and fully, and is well organised',
  'the answer is made for this question, without anything beside the point, and shows expert knowledge',
];

export interface SelfRewardOptions extends RowJobOptions {
  /** What policy and judge are; a log of others is not resumed. */
  policyName?: string;
  judgeName?: string;
  /** Answers a prompt. Default 4. */
  candidates?: number;
  /** Default 0.7. */
  temperature?: number;
  /** One point each. Default {@link additiveCriteria}. */
  criteria?: readonly string[];
  /** Judgements an answer, averaged. Default 3. */
  judgements?: number;
  judgeTemperature?: number;
  /** In tokens. Defaults 256 and 128. */
  maxCompletionLength?: number;
  maxJudgementLength?: number;
  /** Default `chat`. */
  format?: PromptFormat;
}

export interface JudgedCandidates {
  index: number;
  prompt: Prompt;
  /** `score`: mean over the judgements that could be read; null when none could. */
  candidates: { answer: string; score: number | null; judgements: (number | null)[] }[];
  seed: number;
  excluded?: string;
}

/**
 * One round of self-rewarding (2401.10020, §2): the policy answers each prompt `candidates` times, a judge gives each answer 0 to 5 points by additive criteria;
 * the best and the worst answer become a pair. The judge is the policy itself, or better, as Meta-Rewarding found (2407.19594: a model's judgement turns worse after
 * two rounds), a frozen model. An answer that no judgement could be read on is left out; a prompt with fewer than two answers, or all alike, is excluded.
 *
 * @throws EspalierError `bad_config`, `aborted`, what the models throw
 */
export async function selfReward(policy: TextModel, judge: TextModel, prompts: readonly Prompt[], options: SelfRewardOptions = {}): Promise<JudgedCandidates[]> {
  const { policyName, judgeName, candidates = 4, temperature = 0.7, criteria = additiveCriteria, judgements = 3, judgeTemperature = 0.7, maxCompletionLength = 256, maxJudgementLength = 128, format = 'chat', seed = 0, signal } = options;
  if (!(Number.isInteger(candidates) && candidates >= 2)) throw new EspalierError('bad_config', `\`candidates\` is ${candidates}`, { fix: 'an integer from 2' });
  if (!(Number.isInteger(judgements) && judgements >= 1)) throw new EspalierError('bad_config', `\`judgements\` is ${judgements}`, { fix: 'an integer from 1' });
  const how = { ...(format === 'plain' ? { stop: plainStops } : {}), ...(signal ? { signal } : {}) };
  const identity = { policyName, judgeName, candidates, temperature, criteria, judgements, judgeTemperature, maxCompletionLength, wholeSentences: true, maxJudgementLength, format };
  return runRows('self-rewarding', prompts, identity, options, async (batch) => {
    const asked = batch.flatMap(({ index, item }) => Array.from({ length: candidates }, (_, k) => ({ index, item, k })));
    const answers = (await policy.complete(asked.map(({ item }) => policyPrompt(item, format)), { maxNewTokens: maxCompletionLength, temperature, wholeSentences: true, seeds: asked.map(({ index, k }) => hash32(seed, index, k, 0x5e1f)), ...how })).map((answer) => answer.trim());
    const judged = asked.flatMap(({ index, item, k }, i) => (answers[i] === '' ? [] : Array.from({ length: judgements }, (_, j) => ({ index, item, k, j, i }))));
    const texts = await judge.complete(
      judged.map(({ item, i }) => renderTurns([human(judgeQuestion(item, answers[i], criteria))], format)),
      { maxNewTokens: maxJudgementLength, temperature: judgeTemperature, seeds: judged.map(({ index, k, j }) => hash32(seed, index, k, j, 0x10d6e)), ...how },
    );
    return batch.map(({ index, item }): JudgedCandidates => {
      const list = asked.flatMap((own, i) => {
        if (own.index !== index) return [];
        const scores = judged.flatMap((question, q) => (question.i === i ? [readPoints(texts[q], criteria.length)] : []));
        const read = scores.filter((score) => score !== null);
        return [{ answer: answers[i], score: read.length === 0 ? null : read.reduce((a, b) => a + b, 0) / read.length, judgements: scores }];
      });
      const scored = list.filter(({ score }) => score !== null);
      const excluded = scored.length < 2 ? 'fewer than two answers could be judged' : new Set(scored.map(({ score }) => score)).size === 1 ? 'all answers have the same score' : undefined;
      return { index, prompt: item, candidates: list, seed, ...(excluded === undefined ? {} : { excluded }) };
    });
  });
}

function judgeQuestion(prompt: Prompt, answer: string, criteria: readonly string[]): string {
  return `Review the question and the answer below. Points add up, one for each of these that holds:\n${criteria.map((criterion, i) => `${i + 1}. ${criterion};`).join('\n')}\n\n${conversationText(promptTurns(prompt))}\n\nAnswer: ${answer}\n\nJustify your points in one or two sentences, then end with "Score: " and the number of points, from 0 to ${criteria.length}.`;
}

/**
 * The points that a judgement ends with. Null when it names none, or more than there are.
 * @example
 * readPoints('Relevant and complete. Score: 4', 5); // 4
 */
export function readPoints(judgement: string, highest: number): number | null {
  const last = [...judgement.matchAll(/[Ss]core:?\**\s*:?\s*\**(\d+(?:\.\d+)?)/g)].at(-1);
  const points = last ? Number(last[1]) : NaN;
  return points >= 0 && points <= highest ? points : null;
}

export interface SelfRewardRow extends Record<string, unknown> {
  prompt: Prompt;
  chosen: ReturnType<typeof completionColumn>;
  rejected: ReturnType<typeof completionColumn>;
  provenance: { method: 'self-rewarding'; row: number; chosenScore: number; rejectedScore: number; seed: number } & Record<string, unknown>;
}

/** Best and worst answer of each prompt as preference rows, with all scores. */
export function selfRewardRows(judged: readonly JudgedCandidates[], more: Record<string, unknown> = {}): SelfRewardRow[] {
  return judged.flatMap(({ index, prompt, candidates, excluded, seed }) => {
    if (excluded !== undefined) return [];
    const ranked = candidates.filter((candidate): candidate is typeof candidate & { score: number } => candidate.score !== null).sort((a, b) => b.score - a.score);
    const [best, worst] = [ranked[0], ranked.at(-1)!];
    return [{ prompt, chosen: completionColumn(prompt, best.answer), rejected: completionColumn(prompt, worst.answer), provenance: { method: 'self-rewarding', row: index, chosenScore: best.score, rejectedScore: worst.score, seed, ...more } }];
  });
}

/** What came of a round, in numbers; `completion_characters` grows when the judge likes length. */
export function selfRewardMetrics(judged: readonly JudgedCandidates[]): Record<string, number> {
  const mean = (values: readonly number[]) => (values.length === 0 ? NaN : values.reduce((a, b) => a + b, 0) / values.length);
  const all = judged.flatMap(({ candidates }) => candidates);
  const judgements = all.flatMap(({ judgements: list }) => list);
  return {
    prompts: judged.length,
    excluded: judged.filter(({ excluded }) => excluded !== undefined).length,
    unreadable: mean(judgements.map((score) => (score === null ? 1 : 0))),
    score: mean(all.flatMap(({ score }) => (score === null ? [] : [score]))),
    completion_characters: mean(all.map(({ answer }) => answer.length)),
  };
}

export interface SelfRewardingLoopOptions<Model> {
  /** Rounds: 2401.10020 makes two after its seed model, M2 and M3. */
  iterations: number;
  /** The model that the first round starts from. */
  initial: Model;
  /** Makes the preference rows of a round with the model of the one before: `selfReward`, with a log of its own. */
  makeRows(model: Model, iteration: number): Promise<{ rows: readonly Record<string, unknown>[]; metrics: Record<string, number> }>;
  /** Trains the next model on them: DPO, with the model of the round before as reference. */
  train(model: Model, rows: readonly Record<string, unknown>[], iteration: number): Promise<Model>;
  /** Rounds that an earlier process finished: the models they gave, in order. */
  finished?: readonly Model[];
  onIteration?(iteration: number, model: Model, metrics: Record<string, number>): void | Promise<void>;
  signal?: AbortSignal;
}

/**
 * Self-rewarding iterations: each round's model makes and judges the pairs that the next one is trained on.
 * @returns the model of every round
 * @throws EspalierError `bad_data` when a round gives no pair, `aborted`
 */
export async function selfRewardingLoop<Model>(options: SelfRewardingLoopOptions<Model>): Promise<Model[]> {
  const { iterations, initial, makeRows, train, finished = [], onIteration, signal } = options;
  const models = [...finished];
  for (let iteration = models.length + 1; iteration <= iterations; iteration++) {
    throwIfAborted(signal);
    const model = models.at(-1) ?? initial;
    const { rows, metrics } = await makeRows(model, iteration);
    if (rows.length === 0) throw new EspalierError('bad_data', `iteration ${iteration}: no prompt gave a pair to train on`, { fix: 'more candidates or judgements a prompt, or a judge whose answers can be read' });
    const next = await train(model, rows, iteration);
    models.push(next);
    await onIteration?.(iteration, next, metrics);
  }
  return models;
}
