/** The kinds of part that a plugin can be begun with; each has a folder of the same name in `templates/`. */
export const kinds = {
  reward: { label: 'reward function', hint: 'scores completions', about: 'a reward function' },
  objective: { label: 'objective', hint: 'a loss, as arithmetic on log-probs', about: 'an objective' },
  algorithm: { label: 'algorithm', hint: 'scored completions to a batch with advantages', about: 'an on-policy algorithm' },
  'rollout-engine': { label: 'rollout engine', hint: 'prompts to completions with log-probs', about: 'a rollout engine' },
  environment: { label: 'environment', hint: 'a task of several turns', about: 'an environment' },
  stage: { label: 'stage', hint: 'a step of a pipeline', about: 'a stage for pipelines' },
  judge: { label: 'judge', hint: 'says which of two answers is better', about: 'a judge' },
  tracker: { label: 'tracker', hint: 'where metrics of a run go', about: 'a tracker' },
} as const;

export type Kind = keyof typeof kinds;
export const kindNames = Object.keys(kinds) as Kind[];

/** Whether a text names one of {@link kinds}. */
export function isKind(text: string): text is Kind {
  return Object.hasOwn(kinds, text);
}
