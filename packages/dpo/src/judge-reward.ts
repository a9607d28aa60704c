import { assertSpecVersion, defineReward, EspalierError, type Comparison, type Judge, type Preference, type RewardFunction } from '@espalier/spec';
import { deriveSeed } from '@espalier/trainer';

/**
 * A judge as a reward function: a completion's reward is how likely the judge holds it better than the others of its prompt, on average. Null where
 * there is no other, or no answer of the judge could be read.
 *
 * @throws EspalierError `incompatible_plugin`; on scoring `bad_config` for a number of answers or a probability that cannot be
 *
 * @example
 * const trainer = new OnlineDPOTrainer({ model, judge, trainDataset: 'prompts.jsonl' }); // rewardFuncs: judgeReward(judge)
 */
export function judgeReward(judge: Judge): RewardFunction {
  assertSpecVersion(judge, 'judge');
  return defineReward({
    name: judge.name,
    async score(samples, { step, signal }) {
      const groups = new Map<string, number[]>();
      samples.forEach(({ group }, i) => groups.set(group, [...(groups.get(group) ?? []), i]));
      const pairs = [...groups.values()].flatMap((members) => members.flatMap((a, k) => members.slice(k + 1).map((b) => [a, b] as const)));
      const question = ([a, b]: readonly [number, number], p: number): Comparison => ({ prompt: samples[a].prompt, first: samples[a].completion, second: samples[b].completion, seed: deriveSeed(step, p) });
      const questions = pairs.map(question);
      const answers: readonly (Preference | null)[] = questions.length === 0 ? [] : judge.compareAll ? await judge.compareAll(questions, { signal }) : await inTurn(judge, questions, signal);
      if (answers.length !== questions.length) throw new EspalierError('bad_config', `judge "${judge.name}" gave ${answers.length} answers to ${questions.length} questions`, { fix: 'one a question, null where there is none' });
      const won = samples.map((): number[] => []);
      pairs.forEach(([a, b], p) => {
        const answer = answers[p];
        if (!answer) return;
        if (!(answer.probability >= 0 && answer.probability <= 1)) throw new EspalierError('bad_config', `judge "${judge.name}" gave the probability ${answer.probability}`, { fix: 'a number from 0 (the second is better) to 1 (the first is)' });
        won[a].push(answer.probability);
        won[b].push(1 - answer.probability);
      });
      return won.map((list) => (list.length > 0 ? list.reduce((x, y) => x + y, 0) / list.length : null));
    },
  });
}

async function inTurn(judge: Judge, questions: readonly Comparison[], signal: AbortSignal | undefined): Promise<(Preference | null)[]> {
  const answers: (Preference | null)[] = [];
  for (const question of questions) answers.push(await judge.compare(question, { signal }));
  return answers;
}

