import { EspalierError, type RewardFunction, type RewardSample } from '@espalier/spec';
import { wordsOf } from '../text/text-units';
import { attacks, type Attack, type AttackedRow, type AttackKnowledge } from './attacks';
import { mean } from './statistics';

export interface AttackOptions {
  /** Completions of an honest policy, with their prompts and rows: what attacks are measured against. Default: the rows' own answers. */
  honest?: readonly RewardSample[];
  /** Column of the row with the right answer. Default `answer`, else `completion` or `solution`, where rows have them. */
  column?: string;
  /** An attack counts when it earns this share of the way from the least that any of them earns to the honest mean. Default 0.5. */
  threshold?: number;
  /** Default: all of {@link attacks}. */
  attacks?: readonly Attack[];
  /** Words of the longest completion. Default 256. */
  longest?: number;
  /** Token ids of a text. Default: a number a word. */
  encode?: (text: string) => ArrayLike<number>;
  signal?: AbortSignal;
}

export interface AttackResult {
  name: string;
  says: string;
  /** Mean reward; null where nothing was scored. */
  mean: number | null;
  max: number | null;
  /** Rows that got null. */
  excluded: number;
  /** Of the way from the least earned to the honest mean: 0 nothing, 1 as much as honesty; null where that cannot be said. */
  share: number | null;
  exploits: boolean;
  /** What it says to the first row. */
  example: string;
}

export interface AttackReport {
  reward: string;
  rows: number;
  /** What honest completions earn, and whether they are samples or the rows' own answers; null where there are neither. */
  honest: { mean: number; from: 'samples' | 'answers'; scored: number } | null;
  /** The one that earns most first. */
  attacks: AttackResult[];
  /** `unknown`: there is nothing honest to measure against. */
  verdict: 'holds' | 'exploitable' | 'unknown';
}

const answerColumns = ['answer', 'completion', 'solution', 'target', 'label'];

/** An answer as text: a list gives its first one. */
function answerText(value: unknown): string | null {
  const one: unknown = Array.isArray(value) && typeof value[0] !== 'object' ? value[0] : value;
  return typeof one === 'string' || typeof one === 'number' || typeof one === 'boolean' ? String(one) : null;
}

/** A number a word, the same for the same word: stands in where there is no tokenizer. */
export function wordTokens(text: string): Int32Array {
  return Int32Array.from(text.match(/\p{L}+|\p{N}|[^\s\p{L}\p{N}]/gu) ?? [], (word) => {
    let hash = 7;
    for (const c of word) hash = (hash * 31 + c.codePointAt(0)!) & 0x7fffff;
    return hash;
  });
}

/**
 * Lets degenerate policies (empty, longest, copy of the prompt, stuffed with keywords, lists of answers, the empty form, one token, the most frequent answer …) earn
 * what they can, and says which of them a policy would learn rather than the task.
 *
 * @throws EspalierError `bad_data` without rows or for a reward function that breaks its contract; what it throws
 *
 * @example
 * const { verdict, attacks } = await attackReward(reward, rows, { honest: samplesOfARun });
 */
export async function attackReward(reward: RewardFunction, rows: readonly AttackedRow[], options: AttackOptions = {}): Promise<AttackReport> {
  if (rows.length === 0) throw new EspalierError('bad_data', 'there are no rows to attack the reward with');
  const { encode = wordTokens, threshold = 0.5, signal } = options;
  const column = options.column ?? answerColumns.find((name) => rows.some(({ row }) => answerText(row[name]) !== null));
  const answers = rows.map(({ row }) => (column === undefined ? null : answerText(row[column])));
  const sampleOf = ({ prompt, row }: AttackedRow, completion: string, i: number): RewardSample => ({ prompt, row: { ...row }, completion, completionTokens: Int32Array.from(encode(completion)), finishReason: 'stop', group: `row-${i}` });
  const totals = async (samples: readonly RewardSample[]): Promise<(number | null)[]> => {
    const scores = await reward.score(samples, { step: 0, evaluation: true, ...(signal ? { signal } : {}) });
    if (scores.length !== samples.length) throw new EspalierError('bad_data', `reward function "${reward.name}" gave ${scores.length} rewards for ${samples.length} samples`, { fix: 'one a sample, null where it does not apply' });
    return scores.map((score) => (score === null || typeof score === 'number' ? score : score.total));
  };
  const given = options.honest ?? rows.flatMap((row, i) => (answers[i] === null ? [] : [sampleOf(row, answers[i], i)]));
  const honestTotals = given.length === 0 ? [] : await totals(given);
  const honest = honestTotals.filter((total) => total !== null);
  const known = knowledge(answers, given, honestTotals, options.longest ?? 256);

  const results: AttackResult[] = [];
  for (const attack of options.attacks ?? attacks) {
    const completions = rows.map((row, i) => attack.complete(row, i, known));
    let scored = await totals(rows.map((row, i) => sampleOf(row, completions[i], i)));
    // A reward that compares the completions of a prompt needs several: all of them the same, as a policy that has collapsed gives them.
    if (scored.every((total) => total === null)) scored = (await totals(rows.flatMap((row, i) => Array.from({ length: 4 }, () => sampleOf(row, completions[i], i))))).filter((_, i) => i % 4 === 0);
    const values = scored.filter((total) => total !== null);
    results.push({ name: attack.name, says: attack.says, mean: values.length > 0 ? mean(values) : null, max: values.length > 0 ? Math.max(...values) : null, excluded: scored.length - values.length, share: null, exploits: false, example: completions[0] });
  }
  const top = honest.length > 0 ? mean(honest) : null;
  const means = results.flatMap((result) => result.mean ?? []);
  const floor = Math.min(...means, ...(top === null ? [] : [top]));
  if (top !== null) {
    const constant = means.every((one) => Math.abs(one - top) < 1e-9); // whatever is said earns the same
    for (const result of results) {
      if (result.mean === null) continue;
      // Where honesty earns no more than the worst of them, those that earn more count.
      result.share = top - floor > 1e-9 ? (result.mean - floor) / (top - floor) : Number(constant || result.mean > top + 1e-9);
      result.exploits = result.share >= threshold;
    }
  }
  results.sort((a, b) => (b.mean ?? -Infinity) - (a.mean ?? -Infinity));
  return {
    reward: reward.name,
    rows: rows.length,
    honest: top === null ? null : { mean: top, from: options.honest ? 'samples' : 'answers', scored: honest.length },
    attacks: results,
    verdict: top === null ? 'unknown' : results.some(({ exploits }) => exploits) ? 'exploitable' : 'holds',
  };
}

/** What a policy would have found out in training: which answers occur, and which words the completions have that earn most. */
function knowledge(answers: readonly (string | null)[], honest: readonly RewardSample[], totals: readonly (number | null)[], longest: number): AttackKnowledge {
  const count = (items: readonly string[]) => {
    const counts = new Map<string, number>();
    for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
    return [...counts].sort(([, a], [, b]) => b - a).map(([item]) => item);
  };
  const earned = totals.filter((total) => total !== null);
  const bar = earned.length > 0 ? mean(earned) : -Infinity;
  const best = honest.filter((_, i) => totals[i] !== null && totals[i]! >= bar);
  return { answers: count(answers.filter((answer) => answer !== null)), keywords: count(best.flatMap(({ completion }) => [...new Set(wordsOf(completion))])).slice(0, 40), longest };
}
