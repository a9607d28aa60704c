import type { Json, PageData, SamplesData } from '../src/page-data';

/** One sample, read out of its columns. */
export interface Sample {
  id: number;
  stage: number;
  stageName: string;
  step: number | null;
  prompt: Json;
  completion: string;
  reward: number | null;
  advantage: number | null;
  tokens: number | null;
  finish: string | null;
  more: { readonly [key: string]: Json | undefined };
  tokenLengths: readonly number[] | null;
  logps: readonly number[] | null;
  tokenAdvantages: readonly number[] | null;
}

export type SampleOrder = 'step' | 'reward-down' | 'reward-up' | 'long' | 'advantage';

export interface SampleQuery {
  stage: number | null;
  step: number | null;
  text: string;
  order: SampleOrder;
}

/** Text of a prompt: of a conversation, its messages. */
export function promptText(prompt: Json): string {
  if (typeof prompt === 'string') return prompt;
  return Array.isArray(prompt) ? (prompt as { content: string }[]).map(({ content }) => content).join('\n') : JSON.stringify(prompt);
}

/** The samples of all stages. */
export class SampleStore {
  readonly total: number;
  readonly samples: Sample[];
  private texts: string[] | null = null;

  constructor(data: PageData) {
    this.samples = data.stages.flatMap(({ run: { samples }, name }, stage) => (samples === null ? [] : samples.completion.map((_, i) => read(samples, i, stage, name))));
    this.samples.forEach((sample, id) => (sample.id = id));
    this.total = data.stages.reduce((sum, { run }) => sum + (run.samples?.total ?? 0), 0);
  }

  /** Steps that have samples. */
  steps(stage: number | null): number[] {
    return [...new Set(this.samples.flatMap((sample) => (sample.step !== null && (stage === null || stage === sample.stage) ? [sample.step] : [])))].sort((a, b) => a - b);
  }

  find({ stage, step, text, order }: SampleQuery): Sample[] {
    const wanted = text.toLowerCase();
    this.texts ??= this.samples.map((sample) => `${promptText(sample.prompt)}\n${sample.completion}`.toLowerCase());
    const found = this.samples.filter((sample) => (stage === null || sample.stage === stage) && (step === null || sample.step === step) && (wanted === '' || this.texts![sample.id].includes(wanted)));
    const by = (value: (sample: Sample) => number | null) => found.sort((a, b) => (value(b) ?? -Infinity) - (value(a) ?? -Infinity) || a.id - b.id);
    if (order === 'reward-down') return by(({ reward }) => reward);
    if (order === 'reward-up') return by(({ reward }) => (reward === null ? null : -reward));
    if (order === 'long') return by(({ tokens, completion }) => tokens ?? completion.length);
    if (order === 'advantage') return by(({ advantage }) => (advantage === null ? null : Math.abs(advantage)));
    return found;
  }
}

function read(samples: SamplesData, i: number, stage: number, stageName: string): Sample {
  return {
    id: 0, stage, stageName,
    step: samples.step[i], prompt: samples.prompts[samples.prompt[i]], completion: samples.completion[i], reward: samples.reward[i], advantage: samples.advantage[i], tokens: samples.tokens[i],
    finish: samples.finish[i], more: samples.more[i], tokenLengths: samples.tokenLengths[i], logps: samples.logps[i], tokenAdvantages: samples.tokenAdvantages[i],
  };
}
