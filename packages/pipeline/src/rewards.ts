import { rewardModel, type RewardModelOptions } from '@espalier/reward-models';
import { rewardByName, rewardNames } from '@espalier/rewards';
import { codeRewardByName, codeRewardNames } from '@espalier/rewards-code';
import { EspalierError, isEspalierError, type RewardFunction } from '@espalier/spec';
import type { WeightedReward } from '@espalier/trainer';
import { nearest } from './nearest';
import type { Registry } from './registry';

/**
 * A reward as a user names it: `numeric`, `numeric=0.8`, `length:max_length=256,weight=0.2`, an object for YAML, or a function.
 * Names are those of `@espalier/rewards`, of `@espalier/rewards-code` and of registered plugins.
 */
export type RewardInput = string | RewardFunction | WeightedReward | { name: string; weight?: number; options?: Readonly<Record<string, unknown>> };

interface NamedReward {
  name: string;
  weight: number;
  options: Readonly<Record<string, unknown>>;
}

function readWeight(text: string, whole: string): number {
  const weight = Number(text);
  if (text.trim() === '' || !Number.isFinite(weight)) throw new EspalierError('bad_config', `reward "${whole}": the weight is ${JSON.stringify(text)}`, { fix: 'a number, such as numeric=0.8' });
  return weight;
}

/**
 * Reads `NAME`, `NAME=WEIGHT` or `NAME:option=value,…` (where `weight` is an option too).
 * @throws EspalierError `bad_config`
 */
export function parseReward(text: string): NamedReward {
  const colon = text.indexOf(':');
  if (colon < 0) {
    const at = text.indexOf('=');
    return at < 0 ? { name: text.trim(), weight: 1, options: {} } : { name: text.slice(0, at).trim(), weight: readWeight(text.slice(at + 1), text), options: {} };
  }
  const options: Record<string, unknown> = {};
  let weight = 1;
  for (const pair of text.slice(colon + 1).split(',')) {
    const at = pair.indexOf('=');
    if (at < 1) throw new EspalierError('bad_config', `reward "${text}": "${pair}" is no option`, { fix: 'option=value, separated by commas' });
    const key = pair.slice(0, at).trim();
    if (key === 'weight') weight = readWeight(pair.slice(at + 1), text);
    else options[key] = pair.slice(at + 1);
  }
  return { name: text.slice(0, colon).trim(), weight, options };
}

/**
 * Reward functions with their weights, from names, functions, or both.
 * @throws EspalierError `not_found` naming the nearest, `bad_config` for options or weights
 */
export async function resolveRewards(inputs: readonly RewardInput[], registry?: Registry): Promise<WeightedReward[]> {
  return Promise.all(inputs.map((input) => resolveReward(input, registry)));
}

/**
 * Checks names, weights and, of built-in rewards, options, without making those of plugins: so that a slip is found before anything runs.
 * @throws EspalierError as {@link resolveRewards}
 */
export function checkRewards(inputs: readonly RewardInput[], registry?: Registry): void {
  for (const input of inputs) {
    const { name } = readReward(input);
    if (name !== null && !registry?.has('rewards', name)) builtInReward(input, registry);
  }
}

function readReward(input: RewardInput): { name: null; given: WeightedReward } | NamedReward {
  if (typeof input === 'object' && input !== null) {
    if ('score' in input) return { name: null, given: { reward: input, weight: 1 } };
    if ('reward' in input) return { name: null, given: input };
  }
  if (typeof input !== 'string' && typeof input?.name !== 'string') throw new EspalierError('bad_config', `${JSON.stringify(input)} is no reward`, { fix: 'a name, or { name, weight, options }' });
  const read = typeof input === 'string' ? parseReward(input) : { weight: 1, options: {}, ...input };
  if (!Number.isFinite(read.weight)) throw new EspalierError('bad_config', `the weight of reward "${read.name}" is ${JSON.stringify(read.weight)}`, { fix: 'a number' });
  return read;
}

async function resolveReward(input: RewardInput, registry: Registry | undefined): Promise<WeightedReward> {
  const read = readReward(input);
  if (read.name === null) return read.given;
  if (registry?.has('rewards', read.name)) return { reward: await registry.lookup('rewards', read.name)(read.options), weight: read.weight };
  return builtInReward(input, registry);
}

function builtInReward(input: RewardInput, registry: Registry | undefined): WeightedReward {
  const { name, weight, options } = readReward(input) as NamedReward;
  if (name === modelReward) return { reward: servedModel(options), weight };
  const known = [...rewardNames, ...codeRewardNames, modelReward, ...(registry?.list() ?? []).filter((part) => part.kind === 'rewards').map((part) => part.name)];
  if (!known.includes(name)) {
    const close = nearest(name, known);
    throw new EspalierError('not_found', `there is no reward function "${name}"`, { fix: close ? `did you mean ${close}? There are ${known.join(', ')}` : `there are ${known.join(', ')}` });
  }
  try {
    return { reward: codeRewardNames.includes(name) ? codeRewardByName(name, options) : rewardByName(name, options), weight };
  } catch (error) {
    if (isEspalierError(error)) throw error;
    throw new EspalierError('bad_config', `reward "${name}": ${(error as Error).message}`, { cause: error });
  }
}

const modelReward = 'reward_model';

/** `reward_model:path=runs/reward/model,normalization=running,clip=5`: a trained reward model, opened when it is first asked. */
function servedModel(options: Readonly<Record<string, unknown>>): RewardFunction {
  const { path, normalization, clip, maxLength, max_length: length = maxLength, ...rest } = options;
  const [stray] = Object.keys(rest);
  if (stray !== undefined) throw new EspalierError('bad_config', `reward "${modelReward}": unknown option \`${stray}\``, { fix: 'it takes path, normalization, clip and max_length' });
  if (typeof path !== 'string' || path === '') throw new EspalierError('bad_config', `reward "${modelReward}": \`path\` is missing`, { fix: `the folder of a reward model, such as ${modelReward}:path=runs/reward/model` });
  return rewardModel({
    model: path,
    ...(normalization === undefined ? {} : { normalization: normalization as RewardModelOptions['normalization'] }),
    ...(clip === undefined ? {} : { clip: Number(clip) }),
    ...(length === undefined ? {} : { maxLength: Number(length) }),
  });
}

/** What a reward depends on, for a stage's fingerprint. Of a function only its name and text are known. */
export function rewardFingerprint(input: RewardInput): unknown {
  if (typeof input === 'string') return parseReward(input);
  if ('score' in input) return { function: input.name, text: String(input.score) };
  if ('reward' in input) return { function: input.reward.name, text: String(input.reward.score), weight: input.weight };
  return input;
}
