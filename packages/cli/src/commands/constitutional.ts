import { constitutionalConfig, ConstitutionalTrainer, parseConstitutionalConfig, type ConstitutionalConfigInput } from '@espalier/constitutional';
import { z } from 'zod';
import { algorithmHelp } from '../algorithm-help';
import { buildCommand, defined } from '../command';
import { fieldHelp } from '../field-help';
import { reportConstitutionalPlan } from '../plan/constitutional-plan';
import { beginDryRun } from '../plan/dry-run';
import { startProgress, type Progress } from '../progress';
import { dataFields, openData } from './data-fields';
import { modelFields } from './model-fields';

const { resumeFromCheckpoint: _resume, ...fields } = constitutionalConfig.shape;

const shape = {
  ...modelFields,
  ...dataFields,
  judge: z.string().min(1).optional().describe('the model that criticises, revises and judges; default: the model itself'),
  ...fields,
  dryRun: z.boolean().default(false).describe('print the plan (texts, tokens, memory, time) and end: no weights are read, nothing is written or fetched'),
  resume: z.boolean().default(false).describe('go on with the run in --output-dir: no finished row is made again'),
};

export const constitutionalCommand = () =>
  buildCommand({
    name: 'constitutional',
    summary: 'rows to train on, by a constitution: critique and revision, AI preferences',
    shape,
    help: { ...fieldHelp, ...algorithmHelp },
    config: true,
    interrupt: 'stopping: finished rows are kept, --resume goes on',
    notes: 'Rows have `prompt`. With --json: {"output_dir", "sft", "preferences", "metrics"}; the files are for espalier sft, and for dpo or reward.',
    async run(values, { output, signal }) {
      const given = values as Record<string, unknown>;
      const args = Object.fromEntries(Object.keys(fields).map((name) => [name, given[name]]).filter(([, value]) => value !== undefined)) as ConstitutionalConfigInput;
      const config = parseConstitutionalConfig(args);
      if (values.dryRun) {
        beginDryRun();
        const rows = await openData(given, { accepted: ['prompt_only', 'prompt_completion', 'preference'] });
        return reportConstitutionalPlan(values.model, rows.size, config, defined({ backend: values.backend, precision: values.precision }), output);
      }
      const bars = new Map<string, Progress>();
      const trainer = new ConstitutionalTrainer({
        model: values.model,
        ...(values.judge === undefined ? {} : { judge: values.judge }),
        trainDataset: await openData(given, { accepted: ['prompt_only', 'prompt_completion', 'preference'] }),
        modelArgs: { ...(values.backend === undefined ? {} : { backend: values.backend }), ...(values.precision === undefined ? {} : { bf16: values.precision === 'bf16' }) },
        args,
        onProgress(stage, done, total) {
          const bar = bars.get(stage) ?? startProgress(stage, { unit: 'row', total });
          bars.set(stage, bar);
          bar.update(done);
          if (done === total) bar.stop();
        },
      });
      try {
        const { outputDir, sft, preferences, metrics } = await trainer.train({ resume: values.resume, signal });
        await output.result({ output_dir: outputDir, ...(sft ? { sft: sft.path } : {}), ...(preferences ? { preferences: preferences.path } : {}), metrics });
        if (sft) output.line(`${sft.count} rows for sft: ${sft.path}`);
        if (preferences) output.line(`${preferences.count} preferences: ${preferences.path}`);
      } finally {
        for (const bar of bars.values()) bar.stop();
        await trainer.close();
      }
    },
  });
