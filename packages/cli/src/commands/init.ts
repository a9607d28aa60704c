import { existsSync } from 'node:fs';
import { checkDatasetRef } from '@espalier/data';
import { resolveRewards } from '@espalier/pipeline';
import { EspalierError } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { askForConfig } from '../init/ask';
import { kindHelp, kinds, onRewards, taskOf, withOption, writeConfig, type Answers, type Kind } from '../init/templates';
import { openRegistry } from './data-fields';

const shape = {
  file: z.string().min(1).optional().describe('the file to write; default: the kind with .yaml behind it'),
  kind: z.enum(kinds).optional().describe(kinds.map((kind) => `${kind}: ${kindHelp[kind]}`).join('; ')),
  model: z.string().min(1).optional().describe('model: a folder, a .gguf or .safetensors file, or a hub id'),
  dataset: z.string().min(1).optional().describe('rows: a file, a dataset of the hub, or a task such as arithmetic'),
  reward: z.array(z.string().min(1)).optional().describe('reward functions, for grpo, rpt and pipeline; default: numeric'),
  maxSteps: z.int().positive().optional().describe('optimiser steps; default: 20'),
  outputDir: z.string().min(1).optional().describe("the run's folder; default: the kind's name under runs/"),
  yes: z.boolean().default(false).describe('ask nothing: what is not given is left at its default'),
};

const defaults = (kind: Kind) => ({ reward: onRewards(kind) ? ['numeric'] : [], maxSteps: 20, outputDir: `runs/${kind}` });

/** What was given with the rest at its defaults. @throws EspalierError `usage` naming what has none */
function completed(given: Partial<Answers>): Answers {
  for (const name of ['kind', 'model', 'dataset'] as const) if (given[name] === undefined) throw new EspalierError('usage', `--${name} is missing, and nothing is asked`, { fix: name === 'kind' ? `one of ${kinds.join(', ')}` : (shape[name].description ?? '') });
  return { ...defaults(given.kind!), ...given } as Answers;
}

export const initCommand = () =>
  buildCommand({
    name: 'init',
    summary: 'ask what a run shall do and write its configuration',
    shape,
    argument: { syntax: '[file]', field: 'file', help: shape.file.description ?? '' },
    whole: ['reward'],
    notes: 'Questions are asked on a terminal for what no flag says. A file that is there is never written over. With --json: {"file", "command"}, and nothing is asked.',
    async run(values, { output }) {
      const { file: wanted, yes, ...flags } = values;
      if (wanted !== undefined && existsSync(wanted)) throw new EspalierError('usage', `${wanted} is there already`, { fix: 'name another file' });
      const given = defined(flags) as Partial<Answers>;
      const asks = !yes && !output.json && process.stdin.isTTY === true && process.stdout.isTTY === true;
      const answers = asks ? await askForConfig(given, defaults) : completed(given);
      if (answers === null) throw new EspalierError('aborted', 'nothing was written');
      const { kind } = answers;
      if (answers.reward.length > 0 && !onRewards(kind)) throw new EspalierError('usage', `--reward is given, and ${kind} has none`, { fix: 'leave it out' });
      if (onRewards(kind)) await resolveRewards(answers.reward, await openRegistry(undefined));
      checkDatasetRef(answers.dataset);
      const endless = taskOf(answers.dataset) !== null && !/[:,]size=/.test(answers.dataset);
      const dataset = endless ? withOption(answers.dataset, 'size=512') : answers.dataset;
      const file = wanted ?? `${kind}.yaml`;
      await writeFileDurably(file, writeConfig({ ...answers, dataset }, file), { replace: false });
      const command = kind === 'pipeline' ? `espalier run ${file}` : `espalier ${kind} --config ${file}`;
      await output.result({ file, command });
      output.line(`${file} is written. The plan: ${command} --dry-run. The run: ${command}`);
    },
  });
