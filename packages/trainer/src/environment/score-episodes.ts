import { episodeSample, type Episode, type EpisodeGroup } from '@espalier/rollouts';
import type { Metrics, Reward, RewardContext, RewardSample } from '@espalier/spec';
import type { Row } from '../prompts';
import { scoreSamples, type WeightedReward } from '../rewards';
import type { OnlineEnvironment } from './open-environment';

/** An episode with what it earned, by function; the environment's own reward under its name. Nothing applies to one that its environment failed. */
export interface ScoredEpisode {
  episode: Episode;
  sample: RewardSample;
  rewards: Record<string, Reward | null>;
}

/**
 * Scores all episodes of the groups, group after group. Reward functions see those alone that their environment saw to the end.
 * @throws EspalierError as `scoreSamples` does
 */
export async function scoreEpisodes(groups: readonly EpisodeGroup<Row>[], rewards: readonly WeightedReward[], environment: OnlineEnvironment | null | undefined, context: RewardContext): Promise<ScoredEpisode[]> {
  const all = groups.flatMap(({ task, episodes }) => episodes.map((episode) => ({ episode, sample: episodeSample(task, episode, !!environment) as RewardSample })));
  const whole = all.filter(({ episode }) => episode.failure === null);
  const scores = rewards.length > 0 ? await scoreSamples(rewards, whole.map(({ sample }) => sample), context) : whole.map(() => ({}));
  let next = 0;
  return all.map(({ episode, sample }) => {
    const given: Record<string, Reward | null> = episode.failure === null ? scores[next++] : Object.fromEntries(rewards.map(({ reward }) => [reward.name, null]));
    return { episode, sample, rewards: environment ? { ...given, [environment.name]: episode.reward } : given };
  });
}

/** Metrics of episodes in an environment: how many turns they took, what tools were called (TRL's names), what failed. */
export function episodeMetrics(episodes: readonly Episode[], { hasTools }: Pick<OnlineEnvironment, 'hasTools'>): Metrics {
  const turns = episodes.map(({ replies }) => replies.length);
  const made = episodes.reduce((sum, { toolCalls }) => sum + toolCalls.made, 0);
  const failed = episodes.reduce((sum, { toolCalls }) => sum + toolCalls.failed, 0);
  return {
    'turns/mean': turns.reduce((a, b) => a + b, 0) / episodes.length,
    'turns/max': turns.reduce((a, b) => Math.max(a, b), 0),
    'turns/limit_ratio': episodes.filter(({ finishReason }) => finishReason === 'turns').length / episodes.length,
    'environment/failure_frequency': episodes.filter(({ failure }) => failure !== null).length / episodes.length,
    ...(hasTools || made > 0 ? { 'tools/call_frequency': made / episodes.length, 'tools/failure_frequency': made > 0 ? failed / made : 0 } : {}),
  };
}
