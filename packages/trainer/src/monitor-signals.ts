import type { Message, Metrics } from '@espalier/spec';
import { repetition } from './monitor';

/** A completion as the monitors see it. */
export interface WatchedSample {
  /** Samples of one prompt share it. */
  group: string;
  prompt: string | readonly Message[];
  completion: string;
  completionTokens: ArrayLike<number>;
  row: Readonly<Record<string, unknown>>;
  /** What is trained on: the weighted sum; null where nothing applied. */
  reward: number | null;
  /** What is never trained on; null where it did not apply. */
  gold?: number | null;
}

/** Characters of a piece that counts as taken over from the prompt; a completion that is shorter counts whole. */
const copiedPiece = 8;

/**
 * What a round's completions say of a reward that is being exploited, as metrics:
 *
 * | metric | |
 * |---|---|
 * | `completions/repetition` | share of a completion's 4-grams that have come before in it |
 * | `completions/repeated_tokens` | share of the most frequent token in completions of at least 3 tokens |
 * | `completions/empty_ratio` | share of completions without a visible character |
 * | `completions/prompt_copied` | share of a completion that stands in its prompt, less that of the row's `answer` where it has one |
 * | `completions/shared_across_prompts` | chance that completions of two different prompts are the same |
 * | `completions/shared_excess` | the same less the chance that the two rows' `answer`s are, where they have one |
 * | `completions/distinct_2` | different 2-grams of tokens / 2-grams, over the completions of a prompt |
 * | `reward/length_correlation` | correlation of reward and tokens among the completions of a prompt |
 * | `gold`, `gold/correlation` | mean of the gold reward; its correlation with the reward among the completions of a prompt, with `gold/correlation_error`, the standard error of that |
 *
 * What cannot be said (no two prompts, no variance) is left out.
 */
export function hackingSignals(samples: readonly WatchedSample[]): Metrics {
  const metrics: Metrics = {};
  const put = (name: string, values: readonly number[]) => {
    if (values.length > 0) metrics[name] = mean(values);
  };
  const groups = [...groupBy(samples, ({ group }) => group).values()];
  put('completions/repetition', samples.map(({ completionTokens }) => repetition(completionTokens)));
  put('completions/repeated_tokens', samples.filter(({ completionTokens }) => completionTokens.length >= 3).map(({ completionTokens }) => topShare(completionTokens)));
  put('completions/empty_ratio', samples.map(({ completion }) => Number(completion.trim() === '')));
  put('completions/prompt_copied', copiedExcess(samples));
  put('completions/distinct_2', groups.flatMap((group) => distinctPairs(group) ?? []));
  Object.assign(metrics, sharing(samples));
  const length = correlationWithin(groups, ({ completionTokens }) => completionTokens.length);
  if (length !== null) metrics['reward/length_correlation'] = length.correlation;
  put('gold', samples.flatMap(({ gold }) => (typeof gold === 'number' ? [gold] : [])));
  const unscorable = samples.filter(({ gold }) => gold === null).length;
  if (unscorable > 0) metrics['gold/unscorable'] = unscorable;
  const gold = correlationWithin(groups, (sample) => sample.gold ?? null);
  if (gold !== null) Object.assign(metrics, { 'gold/correlation': gold.correlation, 'gold/correlation_error': gold.error });
  return metrics;
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

function groupBy<T>(values: readonly T[], key: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const value of values) {
    const name = key(value);
    const group = groups.get(name);
    if (group) group.push(value);
    else groups.set(name, [value]);
  }
  return groups;
}

function topShare(tokens: ArrayLike<number>): number {
  const counts = new Map<number, number>();
  for (let i = 0; i < tokens.length; i++) counts.set(tokens[i], (counts.get(tokens[i]) ?? 0) + 1);
  return Math.max(...counts.values()) / tokens.length;
}

/** Different pairs of neighbouring tokens over all pairs, in the completions of a prompt; null where there are none. */
function distinctPairs(group: readonly WatchedSample[]): number | null {
  const pairs = group.flatMap(({ completionTokens: t }) => Array.from({ length: Math.max(t.length - 1, 0) }, (_, i) => `${t[i]} ${t[i + 1]}`));
  return pairs.length === 0 ? null : new Set(pairs).size / pairs.length;
}

const promptText = (prompt: WatchedSample['prompt']) => (typeof prompt === 'string' ? prompt : prompt.map(({ content }) => (typeof content === 'string' ? content : JSON.stringify(content))).join('\n'));

const answerOf = (row: WatchedSample['row']): string | null => (typeof row['answer'] === 'string' || typeof row['answer'] === 'number' ? String(row['answer']) : null);

/** A text, with its pieces, each known once however long it is. */
interface Source {
  text: string;
  pieces: ReadonlySet<string>;
}

const piecesOf = (text: string): string[] => Array.from({ length: Math.max(text.length - copiedPiece + 1, 0) }, (_, i) => text.slice(i, i + copiedPiece));

/** Share of the pieces of a text that stand in another. */
function copiedShare(text: string, from: Source): number {
  const trimmed = text.trim();
  if (trimmed === '') return 0;
  if (trimmed.length <= copiedPiece) return Number(from.text.includes(trimmed));
  const pieces = piecesOf(trimmed);
  return pieces.filter((piece) => from.pieces.has(piece)).length / pieces.length;
}

/** Of each sample. */
function copiedExcess(samples: readonly WatchedSample[]): number[] {
  const sources = new Map<string, Source>();
  return samples.map(({ prompt, completion, row }) => {
    const text = promptText(prompt);
    let source = sources.get(text);
    if (!source) sources.set(text, (source = { text, pieces: new Set(piecesOf(text)) }));
    const answer = answerOf(row);
    return copiedShare(completion, source) - (answer === null ? 0 : copiedShare(answer, source));
  });
}

/** Chances that two samples of different prompts agree: in their completion, and in the answer of their row. */
function sharing(samples: readonly WatchedSample[]): Metrics {
  const byPrompt = [...groupBy(samples, ({ prompt }) => promptText(prompt)).values()];
  if (byPrompt.length < 2) return {};
  const shared = agreement(byPrompt.map((group) => group.map(({ completion }) => completion.trim())));
  const answers = byPrompt.map(([{ row }]) => answerOf(row));
  return {
    'completions/shared_across_prompts': shared,
    ...(answers.every((answer) => answer !== null) ? { 'completions/shared_excess': shared - agreement(answers.map((answer) => [answer])) } : {}),
  };
}

/** Chance that texts drawn from two different groups are the same. */
function agreement(groups: readonly (readonly string[])[]): number {
  const shares = groups.map((group) => new Map([...groupBy(group, (text) => text)].map(([text, same]) => [text, same.length / group.length])));
  const total = new Map<string, number>();
  let own = 0; // pairs of a group with itself
  for (const share of shares) {
    for (const [text, p] of share) {
      total.set(text, (total.get(text) ?? 0) + p);
      own += p * p;
    }
  }
  const all = [...total.values()].reduce((sum, p) => sum + p * p, 0);
  return (all - own) / (groups.length * (groups.length - 1));
}

/**
 * Pearson's correlation of the reward with something else, of their differences from the group's mean: what the policy is pushed towards, whatever the prompt.
 * Null where one of them does not vary.
 */
function correlationWithin(groups: readonly (readonly WatchedSample[])[], other: (sample: WatchedSample) => number | null): { correlation: number; error: number } | null {
  let [xx, yy, xy, free] = [0, 0, 0, 0];
  for (const group of groups) {
    const pairs = group.flatMap((sample) => {
      const y = other(sample);
      return sample.reward === null || y === null ? [] : [{ x: sample.reward, y }];
    });
    if (pairs.length < 2) continue;
    free += pairs.length - 1;
    const [mx, my] = [mean(pairs.map(({ x }) => x)), mean(pairs.map(({ y }) => y))];
    for (const { x, y } of pairs) {
      xx += (x - mx) ** 2;
      yy += (y - my) ** 2;
      xy += (x - mx) * (y - my);
    }
  }
  if (!(xx > 1e-12 && yy > 1e-12)) return null;
  const correlation = xy / Math.sqrt(xx * yy);
  return { correlation, error: Math.max(1 - correlation ** 2, 0.05) / Math.sqrt(free) };
}
