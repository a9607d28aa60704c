import { describeOrigin, toPrompt, type Dataset } from '@espalier/data';
import { resolveRewards } from '@espalier/pipeline';
import { composeRewards, wordTokens } from '@espalier/rewards';
import { EspalierError, type FinishReason, type RewardFunction, type RewardSample } from '@espalier/spec';
import { readPlannedModel } from '@espalier/trainer';
import { z } from 'zod';
import { openRegistry, pluginFields } from './data-fields';

/** Flags of commands that look at a reward. */
export const laboratoryFields = {
  reward: z.array(z.string().min(1)).nonempty().describe('reward functions: NAME, NAME=WEIGHT or NAME:option=value,…; several are summed'),
  model: z.string().min(1).optional().describe('a model whose tokenizer counts tokens (no weights are read); default: words and signs count'),
  ...pluginFields,
};

interface LaboratoryValues {
  reward: readonly string[];
  model?: string | undefined;
  plugin?: string[] | undefined;
}

/** The reward as a run would have it: one function, or the weighted sum of several. */
export async function openReward(values: LaboratoryValues): Promise<RewardFunction> {
  const rewards = await resolveRewards([...values.reward], await openRegistry(values.plugin));
  return rewards.length === 1 && rewards[0].weight === 1 ? rewards[0].reward : composeRewards(rewards);
}

/** Token ids of a text. */
export async function openEncoder(values: LaboratoryValues): Promise<(text: string) => ArrayLike<number>> {
  if (values.model === undefined) return wordTokens;
  const { tokenizer } = await readPlannedModel(values.model);
  return (text) => tokenizer.encode(text);
}

const finishReasons: readonly string[] = ['stop', 'length', 'aborted', 'turns'];

/**
 * Rows with `prompt` and `completion` as samples: those of one prompt (and step) are a group, all columns reach the reward.
 * @throws EspalierError `bad_data` naming the row
 */
export function samplesOf(rows: Dataset, encode: (text: string) => ArrayLike<number>): RewardSample[] {
  return Array.from({ length: rows.size }, (_, i) => {
    const row = rows.row(i);
    const completion = textOf(row['completion']);
    if (completion === null) throw new EspalierError('bad_data', `${describeOrigin(rows.origin(i))}: there is no \`completion\``, { fix: 'text, or messages; a run writes such rows to samples.jsonl' });
    const prompt = row['prompt'] === undefined ? '' : toPrompt(row, rows.origin(i));
    const reason = row['finish_reason'];
    return { prompt, completion, completionTokens: Int32Array.from(encode(completion)), finishReason: (finishReasons.includes(String(reason)) ? reason : 'stop') as FinishReason, group: `${JSON.stringify(prompt)} ${String(row['step'] ?? '')}`, row };
  });
}

/** A completion as text: as it is, or the content of the messages that it consists of. */
function textOf(completion: unknown): string | null {
  if (typeof completion === 'string') return completion;
  if (!Array.isArray(completion)) return null;
  const contents = completion.map((message: unknown) => (typeof message === 'object' && message !== null ? (message as { content?: unknown }).content : null));
  return contents.length > 0 && contents.every((content) => typeof content === 'string') ? contents.join('\n') : null;
}

export const shown = (value: number | null | undefined): string => (value === null || value === undefined ? '–' : String(Number(value.toPrecision(3))));
