import { hash32, Random } from '@espalier/data';
import { EspalierError, throwIfAborted, type Comparison, type Judge, type OptionQuestion, type Preference, type TextModel } from '@espalier/spec';
import { preferencePrinciples, type Constitution, type PreferenceExample, type PreferencePrinciple } from './constitution';
import { drawDistinct } from './draw';
import { chainOfThoughtClamp, checkClamp, clampLabel, optionProbabilities, type Clamp } from './soft-labels';
import { assistant, conversationText, human, plainStops, promptTurns, renderTurns, type Prompt, type PromptFormat, type Turn } from './turns';

/** Which answer stood under (A): the comparison's first, or its second. */
export type Order = 'first_second' | 'second_first';

/** One question to the judge, and what it answered. */
export interface Reading {
  principle: string;
  order: Order;
  /** Of option (A) and option (B), in nats; null for a judge that gives none. */
  logps: [number, number] | null;
  /** Of (A), normalised over the two. */
  probabilityOfA: number;
  /** That the comparison's first answer is the better one. */
  probability: number;
  /** The principle's weight. */
  weight: number;
  reasoning?: string;
  answer?: string;
}

/** A soft label with all that it is made of. */
export interface PreferenceLabel extends Preference {
  details: {
    readings: Reading[];
    /** Before clamping. */
    unclamped: number;
    clamp: Clamp | null;
  };
}

export interface PreferenceJudgeOptions {
  constitution: Constitution;
  /** Default `constitutional`. */
  name?: string;
  /** Different principles a comparison, drawn by weight; their readings are averaged by weight. Default 1 (RL-CAI). */
  principlesPerLabel?: number;
  /** Only principles with one of these tags. */
  tags?: readonly string[];
  /** `both`: each question is put in both orders and averaged; `random`: in one of them, drawn. Default `both`. */
  orders?: 'both' | 'random';
  /** Reason first, then choose. Default false. */
  chainOfThought?: boolean;
  maxReasoningLength?: number;
  reasoningTemperature?: number;
  /** Range of the label. Default: `[0.4, 0.6]` with chain of thought, else none. */
  clamp?: Clamp | null;
  /** Below this probability of the two letters together, an answer counts as unreadable. Default 0: never. */
  minOptionMass?: number;
  /** Of the constitution's examples, how many stand before the question. Default: all. */
  fewShot?: number;
  /** Default `chat`. */
  format?: PromptFormat;
  seed?: number;
}

/** A judge that says how a label came about. */
export interface PreferenceJudge extends Judge {
  compare(question: Comparison, options?: { signal?: AbortSignal }): Promise<PreferenceLabel | null>;
  compareAll(questions: readonly Comparison[], options?: { signal?: AbortSignal }): Promise<(PreferenceLabel | null)[]>;
  /** All that decides its labels but the model: plain JSON. */
  settings: Record<string, unknown>;
}

const letters = ['A', 'B'] as const;

/**
 * AI preferences (Constitutional AI, 2212.08073, §4.1; both orders: RLAIF, 2309.00267, §2.1): a model is shown the conversation, a principle's question and two
 * answers as options (A) and (B); the log-probs of the letters, normalised, are the label. Each question is put in both orders and the two are averaged, which
 * takes out a preference for a letter. A model without log-probs is asked for the letter, and its label is 0 or 1.
 *
 * Null where any reading cannot be read: no letter or both in the answer, empty reasoning, log-probs that are not numbers.
 *
 * @throws EspalierError `bad_config` for a constitution without preference questions, too few of them, or a wrong clamp
 * @example
 * const judge = preferenceJudge(model, { constitution: defaultConstitution, tags: ['harmless'] });
 * const label = await judge.compare({ prompt: 'How do I get rid of moles?', first: 'Poison the garden.', second: 'Vibrating stakes drive them away.' });
 */
export function preferenceJudge(model: TextModel, options: PreferenceJudgeOptions): PreferenceJudge {
  const { constitution, name = 'constitutional', principlesPerLabel = 1, tags, orders = 'both', chainOfThought = false, maxReasoningLength = 128, reasoningTemperature = 0, minOptionMass = 0, fewShot = Infinity, format = 'chat', seed = 0 } = options;
  const clamp = options.clamp === undefined ? (chainOfThought ? chainOfThoughtClamp : null) : options.clamp;
  if (clamp) checkClamp(clamp);
  const principles = preferencePrinciples(constitution, tags);
  if (!(Number.isInteger(principlesPerLabel) && principlesPerLabel >= 1 && principlesPerLabel <= principles.length)) {
    throw new EspalierError('bad_config', `\`principles_per_label\` is ${principlesPerLabel}, and constitution "${constitution.name}" has ${principles.length} to choose from`, { fix: `from 1 to ${principles.length}` });
  }
  const examples = constitution.preferenceExamples.slice(0, fewShot).filter(({ reasoning }) => !chainOfThought || reasoning !== undefined);
  const shown = examples.flatMap((example) => exampleTurns(example, chainOfThought));

  const compareAll = async (questions: readonly Comparison[], { signal }: { signal?: AbortSignal } = {}): Promise<(PreferenceLabel | null)[]> => {
    throwIfAborted(signal);
    const asked = questions.flatMap((question, q) => {
      const random = new Random(seed, question.seed ?? 0, 0x1abe1);
      const by: readonly Pick<PreferencePrinciple, 'id' | 'weight' | 'preferenceQuestion'>[] = question.question === undefined ? drawDistinct(principles, principlesPerLabel, random) : [{ id: 'question', weight: 1, preferenceQuestion: question.question }];
      return by.flatMap((principle) => {
        const which: readonly Order[] = orders === 'both' ? ['first_second', 'second_first'] : [random.int(0, 1) === 0 ? 'first_second' : 'second_first'];
        return which.map((order) => ({ q, principle, order, question }));
      });
    });
    const turns = asked.map(({ question, principle, order }) => [...shown, questionTurn(question.prompt, principle.preferenceQuestion, order === 'first_second' ? [question.first, question.second] : [question.second, question.first], chainOfThought)]);
    const reasoning = chainOfThought ? await reason(turns, asked.map(({ question, order }) => hash32(seed, question.seed ?? 0, order === 'first_second' ? 1 : 2)), signal) : null;
    const answers = await readOptions(turns.map((list, i) => (reasoning ? [...list, assistant(reasoning[i]), human(finalRequest)] : list)), signal);
    const readings = asked.map(({ principle, order }, i): Reading | null => {
      const { logps, probabilityOfA, answer } = answers[i];
      if (probabilityOfA === null || reasoning?.[i] === '') return null;
      return {
        principle: principle.id,
        order,
        logps,
        probabilityOfA,
        probability: order === 'first_second' ? probabilityOfA : 1 - probabilityOfA,
        weight: principle.weight,
        ...(reasoning ? { reasoning: reasoning[i] } : {}),
        ...(answer === undefined ? {} : { answer }),
      };
    });
    return questions.map((_, q) => {
      const own = readings.filter((_, i) => asked[i].q === q);
      if (own.some((reading) => reading === null)) return null;
      const read = own as Reading[];
      const unclamped = read.reduce((sum, { probability, weight }) => sum + probability * weight, 0) / read.reduce((sum, { weight }) => sum + weight, 0);
      return { probability: clampLabel(unclamped, clamp), details: { readings: read, unclamped, clamp } };
    });
  };

  async function reason(turns: readonly Turn[][], seeds: readonly number[], signal?: AbortSignal): Promise<string[]> {
    const texts = await model.complete(turns.map((list) => renderTurns(list, format)), { maxNewTokens: maxReasoningLength, temperature: reasoningTemperature, seeds, ...(format === 'plain' ? { stop: plainStops } : {}), ...(signal ? { signal } : {}) });
    return texts.map((text) => text.trim());
  }

  async function readOptions(turns: readonly Turn[][], signal?: AbortSignal): Promise<{ logps: [number, number] | null; probabilityOfA: number | null; answer?: string }[]> {
    if (model.optionLogps || model.optionLogpsAll) {
      const asked = turns.map((list): OptionQuestion => {
        const prompt = renderTurns(list, format);
        return typeof prompt === 'string' ? { prompt: `${prompt} ${answerStart}`, options: letters } : { prompt, options: letters.map((letter) => `${answerStart}${letter}`) };
      });
      const logps = model.optionLogpsAll ? await model.optionLogpsAll(asked, signal ? { signal } : {}) : await Promise.all(asked.map(({ prompt, options: two }) => model.optionLogps!(prompt, two)));
      return logps.map(([a, b]) => ({ logps: [a, b], probabilityOfA: optionProbabilities([a, b], minOptionMass)?.[0] ?? null }));
    }
    const texts = await model.complete(turns.map((list) => renderTurns(list, format)), { maxNewTokens: 8, temperature: 0, ...(signal ? { signal } : {}) });
    return texts.map((answer) => {
      const letter = readLetter(answer);
      return { logps: null, probabilityOfA: letter === null ? null : letter === 'A' ? 1 : 0, answer };
    });
  }

  return {
    specVersion: 'v1',
    name,
    settings: { constitution: constitution.name, principlesPerLabel, tags, orders, chainOfThought, maxReasoningLength, reasoningTemperature, clamp, minOptionMass, fewShot: examples.length, format, seed },
    compare: async (question, how) => (await compareAll([question], how))[0],
    compareAll,
  };
}

/** Common to both options, so that it takes no part in the choice. */
const answerStart = '(';
const finalRequest = 'Which option is better? Answer with (A) or (B) alone.';

function questionTurn(prompt: Prompt, question: string, [a, b]: readonly [string, string], chainOfThought: boolean): Turn {
  const request = chainOfThought ? "Let's think step by step." : 'Answer with (A) or (B) alone.';
  return human(`Consider the following conversation between a human and an assistant:\n\n${conversationText(promptTurns(prompt))}\n\n${question}\n\nOptions:\n(A) ${a}\n(B) ${b}\n\n${request}`);
}

function exampleTurns({ prompt, first, second, question, better, reasoning }: PreferenceExample, chainOfThought: boolean): Turn[] {
  const ask = questionTurn(prompt, question, [first, second], chainOfThought);
  const answer = assistant(`(${better === 'first' ? 'A' : 'B'})`);
  return chainOfThought ? [ask, assistant(reasoning!), human(finalRequest), answer] : [ask, answer];
}

/**
 * The option that an answer names: `(B)`, `B.`, `Option B`. Null when it names none, or both.
 * @example
 * readLetter('The answer is (B).'); // 'B'
 */
export function readLetter(answer: string): 'A' | 'B' | null {
  const inParentheses = new Set([...answer.matchAll(/\(([AB])\)/g)].map((match) => match[1]));
  const found = inParentheses.size > 0 ? inParentheses : new Set([...answer.matchAll(/(?:^\s*|\b(?:[Oo]ption|[Aa]nswer(?: is)?:?)\s+)([AB])\b(?!\s+[a-z])/g)].map((match) => match[1]));
  return found.size === 1 ? ([...found][0] as 'A' | 'B') : null;
}
