import { EspalierError, type Reward, type RewardFunction, type RewardSample } from '@espalier/spec';
import { correlation, histogram, mean, summarise, type Summary } from './statistics';

/** Something in a reward's behaviour that a policy could make use of, or that would keep it from learning. */
export interface Finding {
  /** Stable: what programs look for. */
  name: 'unscorable' | 'constant' | 'no_variance_in_groups' | 'follows_length' | 'ignores_the_row' | 'pays_for_repetition' | 'pays_for_emptiness' | 'outliers' | 'one_part_decides' | 'not_deterministic';
  level: 'warning' | 'note';
  message: string;
}

export interface Examination {
  reward: string;
  samples: number;
  /** Samples with a reward; the others got null. */
  scored: number;
  /** Null when nothing was scored. */
  summary: Summary | null;
  histogram: { from: number; to: number; count: number }[];
  components: Record<string, Summary>;
  /** With the length of a completion in tokens, among the completions of a prompt where there are several; null without variance. */
  lengthCorrelation: number | null;
  /** Share of the prompts with several completions whose completions all got the same; null where no prompt has several. */
  flatGroups: number | null;
  findings: Finding[];
  /** As given, in the order of the samples. */
  rewards: (Reward | null)[];
}

const totalOf = (reward: Reward | null) => (reward === null ? null : typeof reward === 'number' ? reward : reward.total);
const shown = (value: number) => String(Number(value.toPrecision(3)));
const percent = (share: number) => `${Math.round(100 * share)} %`;

async function score(reward: RewardFunction, samples: readonly RewardSample[], signal: AbortSignal | undefined): Promise<(Reward | null)[]> {
  const rewards = await reward.score(samples, { step: 0, evaluation: true, ...(signal ? { signal } : {}) });
  if (rewards.length !== samples.length) throw new EspalierError('bad_data', `reward function "${reward.name}" gave ${rewards.length} rewards for ${samples.length} samples`, { fix: 'one a sample, null where it does not apply' });
  rewards.forEach((one, i) => {
    const total = totalOf(one);
    if (total !== null && !Number.isFinite(total)) throw new EspalierError('bad_data', `reward function "${reward.name}" gave ${String(total)} for sample ${i}`, { fix: 'a finite number, or null where it does not apply' });
  });
  return [...rewards];
}

/** Pairs of rewards of the same sample, before and after a change; where both are there. */
const pairsOf = (before: readonly (Reward | null)[], after: readonly (Reward | null)[]) => before.flatMap((reward, i) => (reward === null || after[i] === null ? [] : [{ before: totalOf(reward)!, after: totalOf(after[i])! }]));

/** A completion twice over. */
const doubled = (sample: RewardSample): RewardSample => ({ ...sample, completion: `${sample.completion} ${sample.completion}`, completionTokens: Int32Array.from([...sample.completionTokens, ...sample.completionTokens]) });
const emptied = (sample: RewardSample): RewardSample => ({ ...sample, completion: '', completionTokens: new Int32Array(0) });

/**
 * Scores samples, and looks at what the rewards depend on: their distribution, parts, length; whether they change when a completion is said twice, when it is empty,
 * or when it stands under another prompt. The reward function is asked five times for every sample.
 *
 * @throws EspalierError `bad_data` without samples, or for rewards that break the contract; what the reward function throws
 *
 * @example
 * const { summary, findings } = await examineReward(numericReward(), samples);
 */
export async function examineReward(reward: RewardFunction, samples: readonly RewardSample[], options: { signal?: AbortSignal } = {}): Promise<Examination> {
  if (samples.length === 0) throw new EspalierError('bad_data', 'there are no samples to look at');
  const { signal } = options;
  const rewards = await score(reward, samples, signal);
  const scored = rewards.flatMap((one, i) => (one === null ? [] : [{ sample: samples[i], total: totalOf(one)! }]));
  const values = scored.map(({ total }) => total);
  const summary = values.length > 0 ? summarise(values) : null;
  const lengthCorrelation = correlation(scored.map(({ sample, total }) => ({ group: sample.group, x: sample.completionTokens.length, y: total })));
  const groups = groupsOf(scored);
  const several = [...groups.values()].filter(({ length }) => length > 1);
  const flatGroups = several.length === 0 ? null : several.filter((group) => new Set(group).size === 1).length / several.length;
  const components = partsOf(rewards);

  const findings: Finding[] = [];
  const find = (level: Finding['level'], name: Finding['name'], message: string) => findings.push({ name, level, message });
  const excluded = 1 - values.length / samples.length;
  if (excluded >= 0.5) find('warning', 'unscorable', `${percent(excluded)} of the samples get null: does the row have what the reward compares with?`);
  if (summary) {
    if (new Set(values).size === 1 && values.length > 1) find('warning', 'constant', `every sample gets ${shown(values[0])}: there is nothing to learn from`);
    else if (flatGroups !== null && flatGroups >= 0.7) find('warning', 'no_variance_in_groups', `the completions of ${percent(flatGroups)} of the prompts all get the same: group-relative methods learn nothing from those`);
    if (lengthCorrelation !== null && Math.abs(lengthCorrelation) >= 0.5) find('warning', 'follows_length', `it correlates with length by ${shown(lengthCorrelation)}: ${lengthCorrelation > 0 ? 'longer' : 'shorter'} completions earn more, whatever they say`);
    if (summary.std > 0 && summary.max > summary.mean + 6 * summary.std) find('note', 'outliers', `the largest reward, ${shown(summary.max)}, is more than 6 standard deviations above the mean: one sample can outweigh its group`);
    const scale = Math.max(summary.std, 1e-9);

    const again = pairsOf(rewards, await score(reward, samples, signal));
    if (again.some(({ before, after }) => Math.abs(before - after) > 1e-9)) find('note', 'not_deterministic', 'asked again it gives other rewards: resumed runs will differ, and noise is learnt from');

    const twice = pairsOf(rewards, await score(reward, samples.map(doubled), signal));
    const gain = twice.length === 0 ? 0 : mean(twice.map(({ before, after }) => after - before));
    if (gain > 0.1 * scale && gain > 0.01) find('warning', 'pays_for_repetition', `a completion that is said twice earns ${shown(gain)} more on average (mean ${shown(summary.mean)})`);

    const empty = (await score(reward, samples.map(emptied), signal)).map(totalOf).filter((total) => total !== null);
    if (empty.length > 0 && mean(empty) >= summary.median - 1e-9 && summary.std > 0) find('warning', 'pays_for_emptiness', `an empty completion earns ${shown(mean(empty))}, no less than the median sample (${shown(summary.median)}): saying nothing is as good`);

    if (new Set(samples.map(({ prompt }) => JSON.stringify(prompt))).size > 1) {
      const other = pairsOf(rewards, await score(reward, underOthers(samples), signal));
      const change = other.length === 0 ? Infinity : mean(other.map(({ before, after }) => Math.abs(after - before)));
      if (change < 0.02 * scale && summary.std > 0) find('note', 'ignores_the_row', 'a completion earns the same under another prompt: the reward looks at its form alone, and one completion that pleases it serves for all. Give it beside a reward that checks the answer, best behind a gate');
    }
    for (const [name, part] of Object.entries(components)) {
      if (Object.keys(components).length < 2 || part.std === 0) continue;
      const share = correlation(rewards.flatMap((one) => (typeof one === 'object' && one?.components?.[name] !== undefined ? [{ group: '', x: one.components[name], y: one.total }] : [])));
      if (share !== null && share ** 2 > 0.95) find('note', 'one_part_decides', `${percent(share ** 2)} of the reward's variance is \`${name}\`: the other parts hardly count`);
    }
  }
  return { reward: reward.name, samples: samples.length, scored: values.length, summary, histogram: values.length > 0 ? histogram(values) : [], components, lengthCorrelation, flatGroups, findings, rewards };
}

function groupsOf(scored: readonly { sample: RewardSample; total: number }[]): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  for (const { sample, total } of scored) groups.set(sample.group, [...(groups.get(sample.group) ?? []), total]);
  return groups;
}

function partsOf(rewards: readonly (Reward | null)[]): Record<string, Summary> {
  const parts: Record<string, number[]> = {};
  for (const one of rewards) if (typeof one === 'object' && one?.components) for (const [name, value] of Object.entries(one.components)) (parts[name] ??= []).push(value);
  return Object.fromEntries(Object.entries(parts).map(([name, values]) => [name, summarise(values)]));
}

/** Every completion under the prompt and row of the next group. */
function underOthers(samples: readonly RewardSample[]): RewardSample[] {
  const firsts = new Map(samples.map((sample) => [sample.group, sample]));
  const names = [...firsts.keys()];
  const next = new Map(names.map((name, i) => [name, firsts.get(names[(i + 1) % names.length])!]));
  return samples.map((sample) => {
    const { prompt, row } = next.get(sample.group)!;
    return { ...sample, prompt, row };
  });
}
