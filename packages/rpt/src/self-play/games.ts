import { taskFamily, type TaskFamily, type TaskRow } from '@espalier/data';
import { numericReward, rewardByName } from '@espalier/rewards';
import { evaluateExpression, type PromptText } from '@espalier/rollouts';
import { defineReward, EspalierError, type Reward, type RewardFunction } from '@espalier/spec';

/** A problem that was proposed. */
export interface ProposedProblem {
  prompt: PromptText;
  /** What the verifier goes by. */
  row: Readonly<Record<string, unknown>>;
  /** The same for problems that count as one. */
  identity: string;
}

/** What proposer and solver play: proposals that a program can read, and a verifier that knows whether an attempt is right. */
export interface SelfPlayGame {
  name: string;
  /** What the proposer is asked; `{example}` stands for a row's prompt. */
  template: string;
  /**
   * Reads a proposal. It is a function of its arguments alone.
   * @param seed of what the problem leaves open
   * @returns null where it is none
   */
  read(proposal: string, seed: number): ProposedProblem | null;
  /** 1 for an attempt that is right, 0 for a wrong one; the row is the problem's. */
  verifier: RewardFunction;
}

export interface ArithmeticGameOptions {
  /** Digits of a number. Default 3. */
  maxDigits?: number;
  /** Numbers of an expression. Default 4. */
  maxNumbers?: number;
  /** What the proposer is asked. */
  template?: string;
  /** What the solver is asked; `{problem}` stands for the expression. */
  solverTemplate?: string;
  /** Prompts as messages or as plain text. Default messages. */
  format?: 'messages' | 'text';
}

/**
 * Expressions: the proposer writes one (`12 + 7 * 3`), a program computes it, the solver must come to the same number. Whole numbers, `+ - * /` and brackets; at least
 * two numbers, and a whole result of at most nine digits.
 */
export function arithmeticGame(options: ArithmeticGameOptions = {}): SelfPlayGame {
  const { maxDigits = 3, maxNumbers = 4, format = 'messages', template = 'Write one arithmetic problem with whole numbers, such as 12 + 7 * 3. Reply with the expression alone.', solverTemplate = 'What is {problem}? Reply with the number alone.' } = options;
  return {
    name: 'arithmetic',
    template,
    read(proposal) {
      const text = /[-(\d][-+*/()\d ]*[\d)]/.exec(proposal.slice(0, 1000))?.[0].replace(/\s+/g, '') ?? '';
      const numbers: string[] = text.match(/\d+/g) ?? [];
      if (numbers.length < 2 || numbers.length > maxNumbers || numbers.some((digits) => digits.length > maxDigits)) return null;
      let value: number;
      try {
        value = evaluateExpression(text);
      } catch {
        return null;
      }
      if (!Number.isInteger(value) || Math.abs(value) > 999_999_999) return null;
      const question = solverTemplate.split('{problem}').join(text);
      return { prompt: format === 'text' ? question : [{ role: 'user', content: question }], row: { answer: String(value), problem: text }, identity: text };
    },
    verifier: numericReward(),
  };
}

/**
 * Task families: the proposer names a family and a difficulty (`sort_words 3`), the problem is drawn from it by the seed, and the family's own reward verifies.
 * @throws EspalierError `bad_config` for no families
 */
export function familyGame(families: readonly TaskFamily[]): SelfPlayGame {
  if (families.length === 0) throw new EspalierError('bad_config', 'self-play has no task families', { fix: 'at least one' });
  const byName = new Map<string, TaskFamily>(families.map((family) => [family.name, family]));
  return {
    name: families.map(({ name }) => name).join('+'),
    template: `Choose the kind of the next problem, one of ${[...byName.keys()].join(', ')}, and its difficulty from 1 to 5. Reply with both, such as ${families[0].name} 2.`,
    read(proposal, seed) {
      const [, name = '', level] = /([a-z][a-z0-9_]*)\W{1,3}([1-5])\b/.exec(proposal.slice(0, 1000)) ?? [];
      const family = byName.get(name);
      if (!family) return null;
      const row = family.generate(seed >>> 8, { difficulty: Number(level) });
      return { prompt: row.prompt, row, identity: `${name} ${level} ${seed}` }; // each draws a problem of its own
    },
    verifier: byTheirFamily(byName),
  };
}

/** Each row by the reward that it names, or the check of its family. */
function byTheirFamily(families: ReadonlyMap<string, TaskFamily>): RewardFunction {
  const made = new Map<string, RewardFunction>();
  return defineReward({
    name: 'family',
    score: (samples, context) =>
      Promise.all(
        samples.map(async (sample): Promise<Reward | null> => {
          const { family, reward } = sample.row as Partial<TaskRow>;
          const check = families.get(family ?? '')?.check;
          if (check) return Number(check(sample.completion, sample.row as TaskRow));
          if (reward === undefined) return null;
          if (!made.has(reward)) made.set(reward, rewardByName(reward, {}));
          return (await made.get(reward)!.score([sample], context))[0];
        }),
      ),
  });
}

/** The game of a name: `arithmetic`, or names of task families with + between them. @throws EspalierError `bad_config` */
export function gameNamed(name: string): SelfPlayGame {
  if (name === 'arithmetic') return arithmeticGame();
  return familyGame(
    name.split('+').map((part) => {
      const family = taskFamily(part.trim());
      if (!family) throw new EspalierError('bad_config', `\`self_play_game\`: there is no task family "${part.trim()}"`, { fix: 'arithmetic, or families that `espalier data tasks` lists, with + between them' });
      return family;
    }),
  );
}
