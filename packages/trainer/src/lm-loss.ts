import { checkRow, ShuffledCursor, type Dataset } from '@espalier/data';
import { defineObjective, EspalierError, type Message, type Objective, type TokenBatch } from '@espalier/spec';
import type { AuxiliaryLoss } from './online';
import type { PromptEncoder } from './prompts';

/** coefficient · Σ −logp / tokens of the batch, over every action. Metric: `nll`, without the coefficient. */
export function lmObjective(coefficient: number): Objective {
  return defineObjective({
    name: 'language-model',
    needs: ['logps'],
    coupling: 'token',
    evaluate({ logps }, { actionIndex, normalizer }) {
      if (!logps) throw new EspalierError('internal', 'the learner gave no logps');
      const scale = coefficient / Math.max(normalizer.tokens, 1);
      const nll = -logps.reduce((a, b) => a + b, 0);
      return { loss: scale * nll, grads: { logps: new Float32Array(actionIndex.length).fill(-scale) }, metrics: { nll: { sum: nll, weight: actionIndex.length } } };
    },
  });
}

export interface LmLossOptions {
  coefficient: number;
  /** Rows with `text`, `messages`, or `prompt` and `completion`: all of their tokens are trained on. */
  dataset: Dataset;
  /** Rows an optimiser step. Default 8. */
  batchSize?: number;
  /** Tokens of a row; longer ones are cut. Default 1024. */
  maxLength?: number;
  seed?: number;
}

/**
 * The language-model loss beside the policy's, so that what the model could do before is not lost to the reward: the "ptx" term of InstructGPT
 * (Ouyang et al. 2022, 2203.02155, eq. 2). Which rows an optimiser step trains on follows from (seed, step) alone.
 * @throws EspalierError `bad_data` naming the row
 */
export function lmLoss(options: LmLossOptions, tokenizer: PromptEncoder & { eosTokenId?: number }): AuxiliaryLoss {
  const { dataset, batchSize = 8, maxLength = 1024, seed = 0 } = options;
  const cursorAt = (position: number) => {
    const size = Number.isFinite(dataset.size) ? dataset.size : null;
    const place = size === null ? { epoch: 0, index: position } : { epoch: Math.floor(position / size), index: position % size };
    return ShuffledCursor.restore(dataset.size, { seed, size, ...place });
  };
  return {
    prefix: 'lm/',
    objective: lmObjective(options.coefficient),
    batch: (step) => documents(cursorAt(step * batchSize).take(batchSize).map((row) => documentTokens(dataset, row, tokenizer).slice(0, maxLength))),
  };
}

function documentTokens(dataset: Dataset, index: number, tokenizer: PromptEncoder & { eosTokenId?: number }): Int32Array {
  const row = dataset.row(index);
  const { type, conversational } = checkRow(row, ['language_modeling', 'prompt_completion'], dataset.origin(index));
  if (conversational) {
    const messages = (type === 'language_modeling' ? row.messages : [...(row.prompt as Message[]), ...(row.completion as Message[])]) as Message[];
    return tokenizer.encode(tokenizer.applyChatTemplate(messages), { addSpecialTokens: false });
  }
  const tokens = tokenizer.encode(type === 'language_modeling' ? (row.text as string) : `${row.prompt as string}${row.completion as string}`);
  const { eosTokenId } = tokenizer;
  return eosTokenId === undefined || tokens.at(-1) === eosTokenId ? tokens : Int32Array.of(...tokens, eosTokenId);
}

/** Documents as a batch: every token but the first of each is an action. */
function documents(list: readonly Int32Array[]): TokenBatch {
  const offsets = new Int32Array(list.length + 1);
  list.forEach((tokens, i) => (offsets[i + 1] = offsets[i] + tokens.length));
  const tokens = new Int32Array(offsets[list.length]);
  const actions: number[] = [];
  list.forEach((document, i) => {
    tokens.set(document, offsets[i]);
    for (let t = 1; t < document.length; t++) actions.push(offsets[i] + t);
  });
  return { tokens, offsets, actionIndex: Int32Array.from(actions), columns: {}, normalizer: { tokens: actions.length, sequences: list.length } };
}
