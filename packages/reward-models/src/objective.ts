import { gather, gradients, variable } from '@espalier/objectives';
import { defineObjective, EspalierError, type Objective, type Outputs, type TokenBatch } from '@espalier/spec';
import { prmTerms } from './prm-loss';
import { resolveRewardOptions, rewardTerms, type RewardLossOptions } from './reward-loss';

/**
 * {@link rewardLoss} as an objective on the output `scores`: `batch.pairs` says which sequences are compared, and each has one action, the token whose
 * score is its reward. Columns `margins` and `labels` (that of the chosen one counts) are used where they are there. Means are over the pairs of the
 * optimiser step, `normalizer.sequences` / 2, so that accumulation is exact.
 *
 * @throws EspalierError `bad_config`; on evaluation `bad_data` for a batch without pairs, `internal` when a score is not finite
 */
export function rewardObjective(options: RewardLossOptions = {}): Objective {
  resolveRewardOptions(options);
  return defineObjective({
    name: 'reward',
    needs: ['scores'],
    coupling: 'pair',
    evaluate(outputs, batch) {
      const scores = variable(scoresOf(outputs, batch));
      const { chosen, rejected } = pairActions(batch);
      const ofChosen = (name: string) => batch.columns[name] && chosen.map((a) => batch.columns[name][a]);
      const { loss, metrics } = rewardTerms({ chosen: gather(scores, chosen), rejected: gather(scores, rejected), margins: ofChosen('margins'), labels: ofChosen('labels'), pairs: batch.normalizer.sequences / 2 }, options);
      return { loss: loss.item(), grads: { scores: Float32Array.from(gradients(loss, [scores])[0]) }, metrics };
    },
  });
}

/** {@link prmLoss} as an objective on the output `scores`: every action is the end of a step, column `labels` says whether it is right. Means are over `normalizer.tokens`, the steps of the optimiser step. */
export function prmObjective(): Objective {
  return defineObjective({
    name: 'prm',
    needs: ['scores'],
    coupling: 'token',
    evaluate(outputs, batch) {
      const scores = variable(scoresOf(outputs, batch));
      const { labels } = batch.columns;
      if (!labels) throw new EspalierError('bad_data', 'the batch has no column `labels`', { fix: '1 where a step is right, 0 where it is not' });
      const { loss, metrics } = prmTerms(scores, labels, batch.normalizer.tokens);
      return { loss: loss.item(), grads: { scores: Float32Array.from(gradients(loss, [scores])[0]) }, metrics };
    },
  });
}

function scoresOf({ scores }: Outputs, batch: TokenBatch): Float32Array {
  if (!scores || scores.length !== batch.actionIndex.length) throw new EspalierError('internal', `the learner gave ${scores ? scores.length : 'no'} scores for ${batch.actionIndex.length} actions`);
  const bad = scores.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new EspalierError('internal', `scores[${bad}] is ${scores[bad]}: the weights have diverged`, { fix: 'resume from an earlier checkpoint with a lower `learning_rate`' });
  return scores;
}

/** The action of the chosen and of the rejected sequence of each pair. */
function pairActions({ pairs, offsets, actionIndex }: TokenBatch): { chosen: number[]; rejected: number[] } {
  if (!pairs) throw new EspalierError('bad_data', 'the batch has no `pairs` to compare', { fix: 'chosen, rejected, chosen, rejected …' });
  const actionOf = new Map<number, number>();
  for (let a = 0, s = 0; a < actionIndex.length; a++) {
    while (offsets[s + 1] <= actionIndex[a]) s++;
    if (actionOf.has(s)) throw new EspalierError('bad_data', `sequence ${s} has more than one action`, { fix: 'one: the token whose score is its reward' });
    actionOf.set(s, a);
  }
  const action = (s: number): number => {
    const a = actionOf.get(s);
    if (a === undefined) throw new EspalierError('bad_data', `sequence ${s} of a pair has no action`, { fix: 'one: the token whose score is its reward' });
    return a;
  };
  const places = (side: 0 | 1) => Array.from({ length: pairs.length / 2 }, (_, p) => action(pairs[2 * p + side]));
  return { chosen: places(0), rejected: places(1) };
}
