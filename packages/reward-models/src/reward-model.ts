import type { Engine } from '@espalier/engine';
import { EspalierError, type Message, type RewardFunction, type RewardSample } from '@espalier/spec';
import { openPolicy, type ModelArgumentsInput } from '@espalier/trainer';
import { RewardScale, type Moments, type Normalization } from './normalization';
import { scoresAt } from './scoring';
import { sharedOpening } from './shared-opening';
import { encodeWhole, scoredPosition, tokenizing } from './tokenizing';

/** What {@link rewardModel} and {@link processRewardModel} take. */
export interface RewardModelOptions {
  /** A folder or hub id of a model with a scalar head; or an engine with one, which stays open on `close()`. */
  model: string | Engine;
  /** Default `reward_model`. */
  name?: string;
  /** Tokens that prompt and completion may have together; a longer sample gets no reward. Default: as many as the model can see. */
  maxLength?: number;
  /** `running`: by mean and standard deviation of all rewards so far. Default `none`. */
  normalization?: Normalization;
  /** Bounds of a reward after normalisation; one number c: −c … c. Default: none. */
  clip?: number | readonly [number, number];
  modelArgs?: ModelArgumentsInput;
  inline?: boolean;
}

/** A reward model as a reward function. Its state is that of a running normalisation. */
export interface RewardModel extends RewardFunction {
  state(): Moments;
  restore(state: unknown): void;
  /** Closes the engine that it opened. */
  close(): Promise<void>;
}

/**
 * A trained reward model as a reward function: each completion is scored with its prompt, as the trainer saw its rows (plain text gets the end-of-sequence
 * token where the completion ended by itself), then normalised and clipped. Samples that are too long get null. The engine is opened by the first call.
 *
 * @throws EspalierError `bad_config`; when scoring `unsupported` for a model without a scalar head, `usage` after `close()`
 *
 * @example
 * const reward = rewardModel({ model: 'my-reward-model', normalization: 'running', clip: 5 });
 * const trainer = new GRPOTrainer({ model: 'my-policy', rewardFuncs: [reward], trainDataset: 'prompts.jsonl' });
 * await trainer.train();
 * await reward.close();
 */
export function rewardModel(options: RewardModelOptions): RewardModel {
  return served(options, 'reward_model', async (engine, samples, signal) => {
    const { tokenizer, maxLength } = tokenizing(engine, options.maxLength ?? null);
    const sequences = samples.map((sample) => {
      const ended = sample.finishReason === 'stop';
      const tokens = encodeWhole(typeof sample.prompt === 'string' ? sample.prompt + sample.completion : conversation(sample), tokenizer, { row: sample.row, ended });
      const fits = tokens.length > 0 && tokens.length <= maxLength;
      return { group: sample.group, tokens: fits ? tokens : new Int32Array(0), at: fits ? Int32Array.of(scoredPosition(tokens, tokenizer.padTokenId)) : new Int32Array(0) };
    });
    const scores = await scoresAt(engine, sequences, signal);
    return scores.map(([score]) => (score === undefined ? null : { raw: score }));
  });
}

const conversation = ({ prompt, completion }: RewardSample): Message[] => [...(prompt as readonly Message[]), { role: 'assistant', content: completion }];

/** A raw score, and what else a model says of a sample. */
export interface RawReward {
  raw: number;
  perToken?: Float32Array;
  note?: string;
}

/** Opening, scaling and closing, whatever the model makes of its samples. */
export function served(options: RewardModelOptions, name: string, rewards: (engine: Engine, samples: readonly RewardSample[], signal: AbortSignal | undefined) => Promise<(RawReward | null)[]>): RewardModel {
  const scale = new RewardScale(options.normalization, options.clip);
  const policy = sharedOpening((signal) => openPolicy(options.model, { modelArgs: options.modelArgs, inline: options.inline, signal }));
  let closed = false;
  const open = async (signal: AbortSignal | undefined): Promise<Engine> => {
    if (closed) throw new EspalierError('usage', `the reward model ${options.name ?? name} is closed`);
    const { engine } = await policy.get(signal);
    if (!engine.learner.capabilities.outputs.includes('scores')) throw new EspalierError('unsupported', `${options.name ?? name}: the model has no scalar head to score with`, { fix: 'a model that RewardTrainer trained, or that transformers saved for sequence classification with one label' });
    return engine;
  };
  return {
    specVersion: 'v1',
    name: options.name ?? name,
    async score(samples, context) {
      const found = await rewards(await open(context.signal), samples, context.signal);
      const kept = found.filter((reward) => reward !== null);
      const scaled = scale.apply(kept.map(({ raw }) => raw), !context.evaluation); // prettier-ignore
      if (kept.length < found.length) context.log?.(`${options.name ?? name}/without_reward`, found.length - kept.length);
      let next = 0;
      return found.map((reward) => (reward === null ? null : { total: scaled[next++], components: { raw: reward.raw }, ...(reward.perToken && { perToken: reward.perToken }), ...(reward.note !== undefined && { note: reward.note }) }));
    },
    state: () => scale.state(),
    restore: (state) => scale.restore(state as Moments),
    async close() {
      closed = true;
      await (await policy.opened())?.close();
    },
  };
}
