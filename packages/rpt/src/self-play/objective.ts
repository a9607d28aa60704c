import type { Row } from '@espalier/data';
import { promptText, type PromptText } from '@espalier/rollouts';
import { EspalierError } from '@espalier/spec';
import { openDataset, roundGeometry, type DatasetInput, type StatefulAlgorithm } from '@espalier/trainer';
import { bindPolicy } from '../bind-policy';
import type { RPTConfig } from '../config';
import { defineRPTObjective, type RPTObjective } from '../objective';
import { checkSampled, sampledRun } from '../sampled-run';
import { selfPlayFields } from './fields';
import { gameNamed, type SelfPlayGame } from './games';
import { selfPlayAlgorithm } from './self-play-algorithm';
import { proposing, selfPlayReward, type SolverPolicy } from './self-play-reward';

const algorithmOf = (args: RPTConfig, attemptsOf: Parameters<typeof selfPlayAlgorithm>[0]['attemptsOf']): StatefulAlgorithm =>
  selfPlayAlgorithm({ attemptsOf, baseline: args.roleBaseline ?? (args.proposerReward === 'zero-sum' ? 'ema' : 'group'), decay: args.roleBaselineDecay, severalUpdates: roundGeometry(args, 1).updates > 1 });

/**
 * Self-play: the policy proposes problems that a program can verify, attempts them, and learns from both. Proposals are paid by how often they are solved, so that their
 * difficulty stays at the edge of what the policy can do; attempts by whether they are right. Rows say what a proposal may look like (`{example}` in the template is
 * the row's prompt); held-out rows are problems, and evaluation solves them.
 *
 * @param game default: the one that `selfPlayGame` names
 * @example
 * new RPTTrainer({ model, objective: selfPlayObjective(arithmeticGame({ maxDigits: 2 })), trainDataset: rows, args: { … } });
 */
export function selfPlayObjective(game?: SelfPlayGame): RPTObjective {
  return defineRPTObjective({
    name: 'self-play',
    summary: 'problems that the policy proposes itself, at the edge of what it solves',
    fields: selfPlayFields,
    takes: { algorithm: 'never', rewards: 'never' },
    rows: ['prompt_only', 'preference', 'language_modeling'],
    check(options, args) {
      if (!game) gameNamed(args.selfPlayGame);
      if (args.control !== 'none') throw new EspalierError('bad_config', '`control` learns answers that stand in rows, and self-play makes its problems itself', { fix: '`control` none' });
      if (args.dynamicSampling) throw new EspalierError('bad_config', '`dynamic_sampling` looks at proposals alone, and attempts at them are trained on too', { fix: 'leave it out' });
      if (args.numGenerations < 2 && (args.roleBaseline ?? 'group') === 'group' && args.proposerReward === 'edge') throw new EspalierError('bad_config', '`num_generations` is 1, and a proposal is compared with others of its group', { fix: 'at least 2, or `role_baseline` ema' });
      if (options.goldReward) throw new EspalierError('bad_config', 'self-play is verified, and has no use for a gold reward', { fix: 'leave it out' });
      checkSampled(args, algorithmOf(args, () => undefined));
    },
    async create(setup) {
      const { options, args } = setup;
      const played = game ?? gameNamed(args.selfPlayGame);
      let policy: (SolverPolicy & { maxPositions: number }) | null = null;
      const open = () => {
        if (!policy) throw new EspalierError('internal', 'proposals are scored before the policy is open');
        return policy;
      };
      const reward = selfPlayReward({
        game: played, solver: open, maxPositions: () => open().maxPositions,
        proposerReward: args.proposerReward, attempts: args.solverAttempts, invalidReward: args.invalidReward, seed: args.seed,
        sampling: { maxNewTokens: args.solverMaxLength ?? args.maxCompletionLength, temperature: args.temperature, ...(options.stop ? { stop: options.stop } : {}) },
      });
      const algorithm = bindPolicy(algorithmOf(args, reward.take), ({ policy: { rollouts, engine } }) => void (policy = { rollouts, tokenizer: engine.tokenizer, maxPositions: engine.info.maxPositions }));
      return sampledRun(setup, { algorithm, rewards: [reward], trainDataset: await proposerRows(options.trainDataset, args.proposerTemplate ?? played.template), config: { game: played.name } });
    },
  });
}

/** Rows that ask for a proposal, in the form of the rows given: messages, or plain text. */
async function proposerRows(input: DatasetInput, template: string): Promise<DatasetInput> {
  const dataset = await openDataset(input, 'trainDataset');
  return {
    name: dataset.name,
    size: dataset.size,
    origin: (index) => dataset.origin(index),
    row(index): Row {
      const given = dataset.row(index);
      const prompt = given['prompt'] as PromptText | undefined;
      const asked = template.split('{example}').join(prompt === undefined ? '' : promptText(prompt));
      return { prompt: typeof prompt === 'string' ? asked : [{ role: 'user', content: asked }], [proposing]: true };
    },
  };
}
