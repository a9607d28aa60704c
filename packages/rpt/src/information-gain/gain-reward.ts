import { defineReward, EspalierError, type RewardFunction, type RewardSample, type TokenBatch } from '@espalier/spec';

/** Who predicts: with a thought the policy as it is, without one a slow average of it. */
export interface GainModel {
  /** Log-prob (nats) of each action under the policy's weights. */
  policy(batch: TokenBatch, signal?: AbortSignal): Promise<Float32Array>;
  /** The same under the average. */
  baseline(batch: TokenBatch, signal?: AbortSignal): Promise<Float32Array>;
  decode(tokens: Int32Array): string;
  encode(text: string): Int32Array;
  /** They end a completion, and are no part of the thought. */
  eosTokenIds: readonly number[];
}

/** What a row says of its position, in token ids. */
export interface GainRow {
  [column: string]: unknown;
  prompt: string;
  /** The text before the position. */
  context_tokens: readonly number[];
  /** The same and what begins the thought: what the policy continues. */
  prompt_tokens: readonly number[];
  /** What follows in the text. */
  target_tokens: readonly number[];
}

/**
 * What a thought is worth (Hatamizadeh et al. 2025, 2510.01265, §3): log p_θ(x | context, thought) − log p̄_φ(x | context), x being what follows in the text and φ
 * the moving average of θ, which does not think. In nats; without a gradient. Rows as {@link gainRows} makes them; null without.
 * @param options.model asked on every call: the model may be opened later than the reward is made
 */
export function informationGainReward(options: { model: () => GainModel; thoughtEnd?: string; name?: string }): RewardFunction {
  const { thoughtEnd = '</think>' } = options;
  return defineReward({
    name: options.name ?? 'information_gain',
    async score(samples, { signal, log }) {
      const scored = samples.filter(({ row }) => isGainRow(row)) as RewardSample<GainRow>[];
      if (scored.length === 0) return samples.map(() => null);
      const model = options.model();
      const thinking = await perSequence(thoughtBatch(scored, model, thoughtEnd), (batch) => model.policy(batch, signal));
      const groups = [...new Map(scored.map((sample) => [sample.group, sample])).values()];
      const plain = await perSequence(plainBatch(groups), (batch) => model.baseline(batch, signal));
      const baselines = new Map(groups.map(({ group }, g) => [group, plain[g]]));
      const gains = new Map(scored.map((sample, i) => [sample as RewardSample, thinking[i] - baselines.get(sample.group)!]));
      log?.('information_gain/with_thought', mean(thinking));
      log?.('information_gain/without_thought', mean(plain));
      log?.('information_gain/positive', mean([...gains.values()].map((gain) => Number(gain > 0))));
      return samples.map((sample) => {
        const gain = gains.get(sample);
        return gain === undefined ? null : { total: gain, components: { with_thought: gain + baselines.get(sample.group)!, without_thought: baselines.get(sample.group)! } };
      });
    },
  });
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const isGainRow = (row: Record<string, unknown>) => Array.isArray(row.context_tokens) && Array.isArray(row.prompt_tokens) && Array.isArray(row.target_tokens);

/** Sequences, some of which share a prefix, and the last tokens of each whose log-probs are asked for. */
function pack(sequences: readonly { prefix?: { key: string; tokens: readonly number[] }; tokens: readonly number[]; asked: number }[]): TokenBatch {
  const tokens: number[] = [];
  const offsets = [0];
  const prefixOf: number[] = [];
  const actionIndex: number[] = [];
  const places = new Map<string, number>();
  const close = (prefix: number) => {
    offsets.push(tokens.length);
    prefixOf.push(prefix);
  };
  for (const { prefix, tokens: own, asked } of sequences) {
    if (prefix && !places.has(prefix.key)) {
      places.set(prefix.key, offsets.length - 1);
      tokens.push(...prefix.tokens);
      close(-1);
    }
    tokens.push(...own);
    for (let t = tokens.length - asked; t < tokens.length; t++) actionIndex.push(t);
    close(prefix ? places.get(prefix.key)! : -1);
  }
  return { tokens: Int32Array.from(tokens), offsets: Int32Array.from(offsets), prefixOf: Int32Array.from(prefixOf), actionIndex: Int32Array.from(actionIndex), columns: {}, normalizer: { tokens: actionIndex.length, sequences: sequences.length } };
}

/** Context, thought, and what follows: the end of the thought is written where it is not there. */
function thoughtBatch(samples: readonly RewardSample<GainRow>[], model: GainModel, thoughtEnd: string): { batch: TokenBatch; asked: number[] } {
  const end = model.encode(thoughtEnd);
  const asked = samples.map(({ row }) => row.target_tokens.length);
  const sequences = samples.map(({ row, group, completionTokens }, i) => {
    const last = completionTokens.at(-1);
    const thought = last !== undefined && model.eosTokenIds.includes(last) ? completionTokens.subarray(0, -1) : completionTokens;
    const closing = model.decode(Int32Array.from(thought)).includes(thoughtEnd) ? [] : end;
    return { prefix: { key: group, tokens: row.prompt_tokens }, tokens: [...thought, ...closing, ...row.target_tokens], asked: asked[i] };
  });
  return { batch: pack(sequences), asked };
}

function plainBatch(samples: readonly RewardSample<GainRow>[]): { batch: TokenBatch; asked: number[] } {
  const asked = samples.map(({ row }) => row.target_tokens.length);
  return { batch: pack(samples.map(({ row }, i) => ({ tokens: [...row.context_tokens, ...row.target_tokens], asked: asked[i] }))), asked };
}

/** Σ log-probs of the asked tokens of each sequence. */
async function perSequence({ batch, asked }: { batch: TokenBatch; asked: readonly number[] }, logpsOf: (batch: TokenBatch) => Promise<Float32Array>): Promise<number[]> {
  const logps = await logpsOf(batch);
  if (logps.length !== batch.actionIndex.length) throw new EspalierError('internal', `the model gave ${logps.length} log-probs for ${batch.actionIndex.length} tokens`);
  let a = 0;
  return asked.map((count) => {
    let sum = 0;
    for (const end = a + count; a < end; a++) sum += logps[a];
    return sum;
  });
}
