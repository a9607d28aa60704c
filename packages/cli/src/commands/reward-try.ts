import { openRows } from '@espalier/pipeline';
import { examineReward } from '@espalier/rewards';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { laboratoryFields, openEncoder, openReward, samplesOf, shown } from './reward-rows';

const bar = (share: number): string => '█'.repeat(Math.round(30 * share));

export const rewardTryCommand = () =>
  buildCommand({
    name: 'try',
    summary: 'score a file of completions, and say what in the reward looks exploitable',
    shape: {
      ...laboratoryFields,
      samples: z.string().min(1).describe("a file of rows with `prompt` and `completion` (a run's samples.jsonl, for one); their other columns reach the reward"),
      limit: z.int().positive().optional().describe('the first rows alone'),
      show: z.int().min(0).max(100).default(3).describe('samples shown from either end'),
    },
    whole: ['reward'],
    notes: 'The reward is asked five times for each sample: as it is, again, said twice over, empty, and under another prompt. With --json: {"reward", "samples", "scored", "summary": {"count", "mean", "std", "min", "median", "max"}, "histogram": [{"from", "to", "count"}], "components": {name: summary}, "length_correlation", "flat_groups", "findings": [{"name", "level", "message"}], "rewards": [number or null, …]}. Exit status: 0 whatever was found.',
    async run(values, { output, signal }) {
      const reward = await openReward(values);
      const rows = await openRows(values.samples, { ...defined({ limit: values.limit }), onNotice: (message) => output.note(`notice: ${message}`) });
      const samples = samplesOf(rows, await openEncoder(values));
      const { summary, histogram, components, findings, rewards, scored, lengthCorrelation, flatGroups } = await examineReward(reward, samples, { signal });
      const totals = rewards.map((one) => (one === null || typeof one === 'number' ? one : one.total));
      await output.result({ reward: reward.name, samples: samples.length, scored, summary, histogram, components, length_correlation: lengthCorrelation, flat_groups: flatGroups, findings, rewards: totals });

      output.line(`${reward.name}: ${scored} of ${samples.length} samples scored`);
      if (summary) output.line(`mean ${shown(summary.mean)} · std ${shown(summary.std)} · min ${shown(summary.min)} · median ${shown(summary.median)} · max ${shown(summary.max)}`);
      for (const { from, to, count } of histogram) output.line(`${(from === to ? shown(from) : `${shown(from)} … ${shown(to)}`).padStart(18)}  ${String(count).padStart(6)}  ${bar(count / scored)}`);
      for (const [name, part] of Object.entries(components)) output.line(`component ${name}: mean ${shown(part.mean)} · std ${shown(part.std)} · ${shown(part.min)} to ${shown(part.max)}`);
      output.line(`correlation with length: ${shown(lengthCorrelation)}${flatGroups === null ? '' : ` · prompts whose completions all got the same: ${Math.round(100 * flatGroups)} %`}`);
      const order = totals.flatMap((total, i) => (total === null ? [] : [{ total, text: samples[i].completion }])).sort((a, b) => b.total - a.total);
      const line = ({ total, text }: { total: number; text: string }) => output.line(`${shown(total).padStart(8)}  ${JSON.stringify(text.slice(0, 100))}`);
      if (values.show > 0 && order.length > 0) {
        output.line('highest:');
        order.slice(0, values.show).forEach(line);
        output.line('lowest:');
        order.slice(-values.show).forEach(line);
      }
      if (findings.length === 0) output.line('nothing looks exploitable in these samples; `espalier reward attack` tries policies that are not among them');
      for (const { level, name, message } of findings) output.line(`${level}: ${name}: ${message}`);
    },
  });
