import { defineReward, EspalierError, type OptionQuestion, type Reward, type RewardFunction, type TextModel } from '@espalier/spec';
import type { Constitution, Principle } from './constitution';
import { expectedScore, optionProbabilities, rescaleScore } from './soft-labels';
import { conversationText, human, promptTurns, renderTurns, type PromptFormat } from './turns';

export interface FeedbackRewardOptions {
  /** Default `ai_feedback`. */
  name?: string;
  /** What a good answer is, in a sentence or more. Either this or `constitution`. */
  criterion?: string;
  /** Every principle is scored, and the scores are averaged by weight. */
  constitution?: Constitution;
  /** Only principles with one of these tags. */
  tags?: readonly string[];
  /** Lowest and highest score. Default 1 and 10. */
  low?: number;
  high?: number;
  /** Below this probability of all scores together, an answer counts as unreadable. Default 0: never. */
  minOptionMass?: number;
  /** Default `chat`. */
  format?: PromptFormat;
}

/**
 * Direct AI feedback (RLAIF, 2309.00267, §2.2): a model is asked for a score from 1 to 10; the expected score under its log-probs, Σ i·P(i), brought to −1 … 1,
 * is the reward. A model without log-probs is asked for the number. What cannot be read is null: the sample is excluded, never scored 0. Components: each
 * principle's own score.
 *
 * @throws EspalierError `bad_config` for options that contradict one another
 * @example
 * const reward = feedbackReward(model, { criterion: 'A good answer is short and friendly.' });
 */
export function feedbackReward(model: TextModel, options: FeedbackRewardOptions): RewardFunction {
  const { name = 'ai_feedback', criterion, constitution, tags, low = 1, high = 10, minOptionMass = 0, format = 'chat' } = options;
  if ((criterion === undefined) === (constitution === undefined)) throw new EspalierError('bad_config', `"${name}" needs either a \`criterion\` or a \`constitution\``, { fix: 'one of the two' });
  if (!(Number.isInteger(low) && Number.isInteger(high) && low < high)) throw new EspalierError('bad_config', `"${name}": scores from ${low} to ${high}`, { fix: 'two integers, the lower one first' });
  const criteria = criterion !== undefined ? [{ id: 'criterion', weight: 1, text: criterion }] : scored(constitution!, tags);
  const scores = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  // The closing parenthesis tells 1 from the beginning of 10.
  const options10 = scores.map((score) => `${score})`);

  const read = async (prompts: readonly ReturnType<typeof renderTurns>[], signal?: AbortSignal): Promise<(number | null)[]> => {
    const how = signal ? { signal } : {};
    if (!model.optionLogps && !model.optionLogpsAll) {
      const texts = await model.complete(prompts, { maxNewTokens: 8, temperature: 0, ...how });
      return texts.map((text) => readScore(text, low, high));
    }
    const asked = prompts.map((prompt): OptionQuestion => (typeof prompt === 'string' ? { prompt: `${prompt} (`, options: options10 } : { prompt, options: options10.map((option) => `(${option}`) }));
    const logps = model.optionLogpsAll ? await model.optionLogpsAll(asked, how) : await Promise.all(asked.map(({ prompt, options: all }) => model.optionLogps!(prompt, all)));
    return logps.map((list) => {
      const probabilities = optionProbabilities(list, minOptionMass);
      return probabilities && expectedScore(probabilities, low);
    });
  };

  return defineReward({
    name,
    async score(samples, { signal, log }) {
      const asked = samples.flatMap(({ prompt, completion }) => criteria.map(({ text }) => renderTurns([human(question(conversationText(promptTurns(prompt)), completion, text, low, high))], format)));
      const read_ = await read(asked, signal);
      const rewards = samples.map((_, i): Reward | null => {
        const own = read_.slice(i * criteria.length, (i + 1) * criteria.length);
        if (own.some((score) => score === null)) return null;
        const values = (own as number[]).map((score) => rescaleScore(score, low, high));
        const weight = criteria.reduce((sum, { weight: w }) => sum + w, 0);
        const total = values.reduce((sum, value, c) => sum + value * criteria[c].weight, 0) / weight;
        return criteria.length === 1 ? total : { total, components: Object.fromEntries(criteria.map(({ id }, c) => [id, values[c]])) };
      });
      log?.(`${name}/unreadable`, samples.length === 0 ? 0 : rewards.filter((reward) => reward === null).length / samples.length);
      return rewards;
    },
  });
}

function scored(constitution: Constitution, tags: readonly string[] | undefined): { id: string; weight: number; text: string }[] {
  const principles = constitution.principles.filter((principle: Principle) => !tags || tags.length === 0 || principle.tags.some((tag) => tags.includes(tag)));
  if (principles.length === 0) throw new EspalierError('bad_config', `constitution "${constitution.name}" has no principle with the tag ${tags!.join(' or ')}`);
  return principles.map(({ id, weight, preferenceQuestion, critiqueRequest }) => ({ id, weight, text: preferenceQuestion === undefined ? critiqueRequest! : `An answer is good when it is the one meant by this question: ${preferenceQuestion}` }));
}

function question(conversation: string, answer: string, criterion: string, low: number, high: number): string {
  return `Consider the following conversation between a human and an assistant, and an answer of the assistant:\n\n${conversation}\n\nAnswer: ${answer}\n\n${criterion}\n\nHow good is the answer, from ${low} (worst) to ${high} (best)? Reply with the number in parentheses alone.`;
}

/**
 * The one score that an answer names. Null when it names none within the range, or several.
 * @example
 * readScore('I give it (7).', 1, 10); // 7
 */
export function readScore(answer: string, low: number, high: number): number | null {
  const inParentheses = [...answer.matchAll(/\((\d+)\)/g)].map((match) => Number(match[1]));
  const found = new Set(inParentheses.length > 0 ? inParentheses : [...answer.replaceAll(new RegExp(`(?:/|out of)\\s*${high}\\b`, 'g'), '').matchAll(/(?<![\d.])\d+(?!\d|\.\d)/g)].map((match) => Number(match[0])));
  const [score] = found;
  return found.size === 1 && score >= low && score <= high ? score : null;
}
