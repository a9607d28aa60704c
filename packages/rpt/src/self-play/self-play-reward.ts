import { collectEpisodes, encodePrompt, type EpisodeTask, type PromptEncoder } from '@espalier/rollouts';
import { defineReward, EspalierError, type Reward, type RewardContext, type RewardFunction, type RewardSample, type RolloutEngine, type SamplingOptions, type ScoredTrajectory } from '@espalier/spec';
import { deriveSeed, rewardTotal } from '@espalier/trainer';
import type { ProposedProblem, SelfPlayGame } from './games';
import { proposerReward } from './proposer-reward';

/** What marks the rows of the proposer: others are problems as they are, for an evaluation of the solver. */
export const proposing = 'selfPlayProposes';

/** Who solves: the policy itself. */
export interface SolverPolicy {
  rollouts: RolloutEngine;
  tokenizer: PromptEncoder;
}

export interface SelfPlayRewardOptions {
  game: SelfPlayGame;
  /** Known when the policy is open. */
  solver(): SolverPolicy;
  proposerReward: 'edge' | 'zero-sum';
  attempts: number;
  invalidReward: number;
  sampling: SamplingOptions;
  seed: number;
  /** The model's positions. A problem that leaves no room for an attempt is none. */
  maxPositions(): number;
}

/** Attempts at one problem, for the update of the solver. */
export type SolverGroup = readonly ScoredTrajectory[];

/**
 * The reward of proposals: each is read, attempted `attempts` times by the policy, verified, and paid by its pass rate. The attempts are kept for the solver's update, by
 * the id of the proposal's trajectory (`group/index`). Rows that ask nobody to propose are problems: their replies are verified.
 */
export function selfPlayReward(options: SelfPlayRewardOptions): RewardFunction & { take(trajectory: string): SolverGroup | undefined } {
  const { game, attempts } = options;
  const kept = new Map<string, SolverGroup>();
  let round = -1;

  async function scoreProposals(samples: readonly RewardSample[], context: RewardContext): Promise<Reward[]> {
    if (!context.evaluation && context.step !== round) {
      kept.clear();
      round = context.step;
    }
    const { rollouts, tokenizer } = options.solver();
    const within = new Map<string, number>(); // samples of a group so far
    const proposals = samples.map(({ completion, group }, i) => {
      const index = within.get(group) ?? 0;
      within.set(group, index + 1);
      const seed = deriveSeed(options.seed, context.step, i, 0x5e1f);
      return { id: `${group}/${index}`, seed, problem: game.read(completion, seed) };
    });
    // The same problem is attempted once, whoever proposed it.
    const problems = new Map<string, { problem: ProposedProblem; tokens: Int32Array; seed: number; by: string[] }>();
    const room = options.maxPositions() - (options.sampling.maxNewTokens ?? 16);
    for (const { id, seed, problem } of proposals) {
      if (!problem) continue;
      const known = problems.get(problem.identity);
      if (known) known.by.push(id);
      else {
        const tokens = encodePrompt(tokenizer, problem.prompt);
        if (tokens.length <= room) problems.set(problem.identity, { problem, tokens, seed, by: [id] });
      }
    }
    const list = [...problems.values()];
    const tasks = list.map(({ problem, tokens, seed, by }): EpisodeTask => ({ id: `${by[0]}/solve`, row: { ...problem.row }, seed, prompt: problem.prompt, tokens }));
    const groups = tasks.length > 0 ? await collectEpisodes(rollouts, tasks, { n: attempts, sampling: options.sampling, ...(context.signal ? { signal: context.signal } : {}) }) : [];
    const asked = groups.flatMap(({ task, episodes }) => episodes.map(({ completion, finishReason }): RewardSample => ({ prompt: task.prompt!, completion: completion.text, completionTokens: completion.tokens, finishReason, group: task.id, row: task.row })));
    const verdicts = asked.length > 0 ? await game.verifier.score(asked, context) : [];
    if (verdicts.length !== asked.length) throw new EspalierError('bad_config', `the verifier of game "${game.name}" gave ${verdicts.length} verdicts for ${asked.length} attempts`, { fix: 'one an attempt' });
    const passRates = new Map<string, { rate: number; occurrences: number }>();
    list.forEach(({ problem, by }, p) => {
      const right = verdicts.slice(p * attempts, (p + 1) * attempts).map((verdict) => (verdict !== null && rewardTotal(verdict) >= 1 ? 1 : 0));
      passRates.set(problem.identity, { rate: right.reduce<number>((a, b) => a + b, 0) / attempts, occurrences: by.length });
      if (!context.evaluation) kept.set(by[0], groups[p].episodes.map(({ trajectory }, k) => ({ ...trajectory, rewards: { solver: right[k] }, row: groups[p].task.row })));
    });
    return proposals.map(({ problem }): Reward => {
      const found = problem && passRates.get(problem.identity);
      if (!found) return { total: options.invalidReward, components: { valid: 0 } };
      const { rate, occurrences } = found;
      return { total: proposerReward(rate, options.proposerReward, occurrences), components: { valid: 1, pass_rate: rate, at_edge: Number(rate > 0 && rate < 1), repeated: Number(occurrences > 1) } };
    });
  }

  return {
    ...defineReward({
      name: 'self_play',
      async score(samples, context) {
        const proposals = samples.filter(({ row }) => row[proposing] === true);
        const replies = samples.filter(({ row }) => row[proposing] !== true);
        const [paid, verified] = [await scoreProposals(proposals, context), replies.length > 0 ? await game.verifier.score(replies, context) : []];
        let [p, r] = [0, 0];
        return samples.map(({ row }) => (row[proposing] === true ? paid[p++] : verified[r++]));
      },
    }),
    take: (trajectory) => kept.get(trajectory),
  };
}
