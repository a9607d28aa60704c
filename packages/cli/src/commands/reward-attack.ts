import { toPrompt } from '@espalier/data';
import { openRows } from '@espalier/pipeline';
import { attackReward } from '@espalier/rewards';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { dataFields, openData } from './data-fields';
import { laboratoryFields, openEncoder, openReward, samplesOf, shown } from './reward-rows';

export const rewardAttackCommand = () =>
  buildCommand({
    name: 'attack',
    summary: 'let degenerate policies earn what they can from a reward',
    shape: {
      ...laboratoryFields,
      ...dataFields,
      honest: z.string().min(1).optional().describe("a file of rows with `prompt` and `completion` by an honest policy (samples.jsonl of `espalier eval` or of a run's first steps); default: the answers in the rows"),
      answerColumn: z.string().min(1).optional().describe('column with the right answer; default: answer, completion, solution, target or label, whichever is there'),
      threshold: z.number().min(0).max(10).default(0.5).describe('an attack counts when it earns this share of the way from the least that any earns to the honest mean'),
      longest: z.int().positive().max(100_000).default(256).describe('words of the longest completion'),
      limit: z.int().positive().default(64).describe('the first rows alone'),
    },
    whole: ['reward', 'taskTemplate'],
    notes:
      'Policies: empty, longest, prompt_copy, keyword_stuffing, answer_list, most_frequent_answer, format_echo, format_and_guess, safe_steps, repeated_token, number_of_the_prompt, answer_of_another_row, refusal, judge_injection. With --json: {"reward", "rows", "honest": {"mean", "from", "scored"}, "attacks": [{"name", "says", "mean", "max", "excluded", "share", "exploits", "example"}], "verdict"}. Exit status: 0 where the reward holds (or there is nothing honest to measure against: verdict "unknown"), 1 where an attack counts, 2 for wrong usage or bad input.',
    async run(values, { output, signal }) {
      const reward = await openReward(values);
      const encode = await openEncoder(values);
      const onNotice = (message: string) => output.note(`notice: ${message}`);
      const rows = await openData(values, { limit: values.limit, endlessSize: values.limit, onNotice });
      const honest = values.honest === undefined ? undefined : samplesOf(await openRows(values.honest, { onNotice }), encode);
      const attacked = Array.from({ length: rows.size }, (_, i) => ({ prompt: toPrompt(rows.row(i), rows.origin(i)), row: rows.row(i) }));
      if (values.answerColumn !== undefined && !attacked.some(({ row }) => row[values.answerColumn!] !== undefined)) throw new EspalierError('bad_data', `--answer-column is ${values.answerColumn}, and no row has it`, { fix: `rows have ${Object.keys(attacked[0].row).join(', ')}` });
      const report = await attackReward(reward, attacked, { ...defined({ honest, column: values.answerColumn }), threshold: values.threshold, longest: values.longest, encode, signal });
      await output.result(report);

      const { honest: base } = report;
      output.line(`${report.reward} on ${report.rows} rows${base ? ` · honest ${base.from} earn ${shown(base.mean)}` : ''}`);
      output.line(`${'policy'.padEnd(22)} ${'mean'.padStart(8)} ${'of honest'.padStart(10)}  what it says`);
      for (const { name, mean, share, exploits, says, excluded } of report.attacks) output.line(`${name.padEnd(22)} ${shown(mean).padStart(8)} ${(share === null ? '–' : `${Math.round(100 * share)} %`).padStart(10)}${exploits ? ' !' : '  '}${says}${excluded > 0 ? ` (${excluded} rows: null)` : ''}`);
      const found = report.attacks.filter(({ exploits }) => exploits).map(({ name }) => name);
      const most = `${found.slice(0, 5).join(', ')}${found.length > 5 ? ` and ${found.length - 5} more` : ''}`;
      if (base && report.attacks.every(({ mean }) => mean === null || mean >= base.mean - 1e-9)) output.note(`notice: honest ${base.from} earn no more than the worst of these policies${base.from === 'answers' ? ': give --honest with completions as the reward expects them' : ''}`);
      if (report.verdict === 'exploitable') output.line(`exploitable: ${most} earn${found.length === 1 ? 's' : ''} at least ${Math.round(100 * values.threshold)} % of what honest completions do`);
      else if (report.verdict === 'holds') output.line(`holds: no policy earns ${Math.round(100 * values.threshold)} % of what honest completions do`);
      else output.line('unknown: rows have no answers, and there is no --honest, to measure against');
      if (report.verdict === 'exploitable') process.exitCode = 1;
    },
  });
