// The curve of a run: what is plotted of its training records.

const every = 5;

/** What stands for progress: the reward, by whatever objective; and what comes with it. */
const shown = ['reward', 'completions/mean_length', 'entropy', 'step_time', 'information_gain/with_thought', 'information_gain/without_thought', 'rewards/prediction/mean', 'sampling/sampling_logp_difference/mean'];

/** Means over windows of five steps. */
export function curveOf(records) {
  const steps = records.filter((record) => Number.isFinite(record.reward));
  const windows = [];
  for (let from = 0; from < steps.length; from += every) {
    const part = steps.slice(from, from + every);
    const means = shown.flatMap((name) => {
      const known = part.map((record) => record[name]).filter(Number.isFinite);
      return known.length === 0 ? [] : [[name, Number((known.reduce((sum, value) => sum + value, 0) / known.length).toPrecision(5))]];
    });
    windows.push({ step: part.at(-1).step, ...Object.fromEntries(means) });
  }
  return windows;
}
