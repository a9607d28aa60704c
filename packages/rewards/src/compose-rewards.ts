import { defineReward, EspalierError, type Reward, type RewardContext, type RewardFunction, type RewardSample } from '@espalier/spec';
import { noMoments, standardise, withValues, type Moments } from './composing/normalise';

/** A reward function with its part in a sum. */
export interface RewardTerm {
  reward: RewardFunction;
  /** Default 1. 0: a metric, which stands among the components and changes nothing. */
  weight?: number;
  /**
   * What makes it comparable with the others: `group`: less the mean of the prompt's completions and over their standard deviation (GDPO: each reward by itself, before
   * the sum); `running`: the same over all samples so far, which is saved with checkpoints. Default `none`.
   */
  normalize?: 'none' | 'group' | 'running';
  /** A gate: where this function gives less than that, or does not apply, what the terms after it would add is withheld; what they would take off still counts. */
  gate?: number;
}

type Term = Required<Omit<RewardTerm, 'gate'>> & { gate: number | null };

const totalOf = (reward: Reward) => (typeof reward === 'number' ? reward : reward.total);

/**
 * Several reward functions as one: Σ weight × reward, with each function's own reward (unweighted, not normalised) under `components`. What does not apply to a
 * sample is left out of its sum; a sample to which nothing applies (but metrics of weight 0) gets null. Per-token parts are weighted and added where they are as long
 * as one another.
 *
 * @throws EspalierError `bad_config` for no functions, two of one name, a weight or gate that is not finite; when scoring, `bad_data` for a function
 * that gives another number of rewards than there are samples
 *
 * @example
 * composeRewards([{ reward: formatReward(), weight: 0.2, gate: 1 }, numericReward(), { reward: lengthReward({ maxLength: 256 }), weight: 0.2 }, { reward: repetitionReward(), weight: 0 }]);
 */
export function composeRewards(terms: readonly (RewardTerm | RewardFunction)[], options: { name?: string } = {}): RewardFunction {
  const list = terms.map((term): Term => {
    const { reward, weight = 1, normalize = 'none', gate } = 'reward' in term ? term : { reward: term };
    return { reward, weight, normalize, gate: gate ?? null };
  });
  checkTerms(list);
  const moments: Record<string, Moments> = {};
  const running = list.filter(({ normalize }) => normalize === 'running').map(({ reward }) => reward.name);
  const keeping = list.flatMap(({ reward }) => (reward.state ? [reward] : []));
  return defineReward({
    ...((keeping.length > 0 || running.length > 0) && {
      state: () => ({ ...Object.fromEntries(keeping.map((reward) => [reward.name, reward.state!()])), ...(running.length > 0 ? { [ownState]: structuredClone(moments) } : {}) }),
      restore(state: unknown) {
        const all = state as Record<string, unknown>;
        for (const reward of keeping) reward.restore?.(all[reward.name]);
        for (const name of running) delete moments[name];
        Object.assign(moments, structuredClone(all[ownState] ?? {}));
      },
    }),
    name: options.name ?? list.map(({ reward }) => reward.name).join('+'),
    async score(samples, context) {
      const columns = await Promise.all(list.map(async (term) => valuesOf(term, await scoreTerm(term, samples, context), samples, moments, context)));
      return samples.map((_, i) => sumOf(list, columns.map((column) => column[i])));
    },
  });
}

/** The place of the running means among the states of the parts, whose names may be anything else. */
const ownState = '\u0000running';

function checkTerms(list: readonly Term[]): void {
  if (list.length === 0) throw new EspalierError('bad_config', 'there is no reward function to compose', { fix: 'at least one' });
  const names = new Set<string>();
  for (const { reward, weight, gate, normalize } of list) {
    if (names.has(reward.name)) throw new EspalierError('bad_config', `two reward functions are named "${reward.name}"`, { fix: 'give one another `name`' });
    if (!Number.isFinite(weight)) throw new EspalierError('bad_config', `the weight of "${reward.name}" is ${weight}`, { fix: 'a finite number' });
    if (gate !== null && !Number.isFinite(gate)) throw new EspalierError('bad_config', `the gate of "${reward.name}" is ${gate}`, { fix: 'the least reward that lets the others count' });
    if (!['none', 'group', 'running'].includes(normalize)) throw new EspalierError('bad_config', `\`normalize\` of "${reward.name}" is ${JSON.stringify(normalize)}`, { fix: 'none, group or running' });
    names.add(reward.name);
  }
}

async function scoreTerm({ reward }: Term, samples: readonly RewardSample[], context: RewardContext): Promise<readonly (Reward | null)[]> {
  const scores = await reward.score(samples, context);
  if (scores.length !== samples.length) throw new EspalierError('bad_data', `reward function "${reward.name}" gave ${scores.length} rewards for ${samples.length} samples`, { fix: 'one a sample, null where it does not apply' });
  return scores;
}

/** A function's reward of one sample: as given, and as it counts in the sum. */
interface Value {
  given: Reward;
  counts: number;
  /** Of its per-token part. */
  scale: number;
}

function valuesOf({ reward, normalize }: Term, scores: readonly (Reward | null)[], samples: readonly RewardSample[], moments: Record<string, Moments>, context: RewardContext): (Value | null)[] {
  const numbers = scores.map((score) => (score === null ? null : totalOf(score)));
  const of = (pick: (i: number) => boolean) => numbers.filter((value, i): value is number => value !== null && pick(i));
  let scaled: (value: number, i: number) => { value: number; scale: number } = (value) => ({ value, scale: 1 });
  if (normalize === 'group') {
    const groups = new Map([...new Set(samples.map(({ group }) => group))].map((group) => [group, withValues(noMoments, of((i) => samples[i].group === group))]));
    scaled = (value, i) => standardise(value, groups.get(samples[i].group)!);
  } else if (normalize === 'running') {
    const before = moments[reward.name] ?? noMoments;
    const seen = withValues(before, of(() => true));
    if (!context.evaluation) moments[reward.name] = seen;
    const used = context.evaluation && before.count > 1 ? before : seen; // an evaluation is measured by what was trained on
    scaled = (value) => standardise(value, used);
  }
  return numbers.map((value, i) => {
    if (value === null) return null;
    const { value: counts, scale } = scaled(value, i);
    return { given: scores[i]!, counts, scale };
  });
}

function sumOf(list: readonly Term[], values: readonly (Value | null)[]): Reward | null {
  const components: Record<string, number> = {};
  const notes: string[] = [];
  let total = 0;
  let applies = false;
  let open = true;
  let perToken: Float32Array | undefined;
  list.forEach(({ reward: { name }, weight, gate }, k) => {
    const value = values[k];
    if (value !== null) {
      components[name] = totalOf(value.given);
      if (typeof value.given !== 'number' && value.given.note) notes.push(`${name}: ${value.given.note}`);
      if (weight !== 0) {
        applies = true;
        const added = weight * value.counts;
        if (open || added < 0) {
          total += added;
          if (typeof value.given !== 'number' && value.given.perToken) perToken = addWeighted(perToken, value.given.perToken, weight * value.scale, name);
        }
      }
    }
    if (gate !== null && (value === null || totalOf(value.given) < gate)) open = false;
  });
  if (!applies) return null;
  return { total, components, ...(perToken ? { perToken } : {}), ...(notes.length > 0 ? { note: notes.join('; ') } : {}) };
}

function addWeighted(sum: Float32Array | undefined, values: Float32Array, weight: number, name: string): Float32Array {
  if (sum && sum.length !== values.length) throw new EspalierError('bad_data', `"${name}" gave ${values.length} rewards per token where another function gave ${sum.length}`, { fix: 'one a token of the completion' });
  return values.map((v, t) => (sum ? sum[t] : 0) + weight * v);
}
