import { readFileSync } from 'node:fs';
import { formatOf, loadRows, toPrompt } from '@espalier/data';
import { EspalierError, type Completion, type GenerateRequest, type Message } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { startProgress } from '../progress';
import { modelFields, samplingFields } from './model-fields';

const shape = {
  ...modelFields,
  prompt: z.string().optional().describe('the text to go on from, or with --chat the message to answer'),
  file: z.string().min(1).optional().describe('many prompts: a file of rows (.jsonl, .csv, .parquet) with `prompt`, or a text file with one a line'),
  chat: z.boolean().default(false).describe("put the prompt into the model's chat template"),
  system: z.string().optional().describe('system message before the prompt; needs --chat'),
  maxNewTokens: z.int().positive().optional().describe("longest completion, in tokens; default: 128, or what the model's positions leave"),
  temperature: z.number().min(0).default(1).describe('0: always the likeliest token, found in fp32 unless --precision says otherwise'),
  numReturn: z.int().positive().max(4096).default(1).describe('completions of each prompt'),
  ...samplingFields,
  seed: z.int().min(0).max(0xffffffff).default(42).describe('the same seed gives the same completions'),
};

type Prompt = string | readonly Message[];

async function readPrompts(path: string): Promise<Prompt[]> {
  if (formatOf(path) !== null) {
    const rows = await loadRows(path);
    return Array.from({ length: rows.size }, (_, i) => toPrompt(rows.row(i), rows.origin(i)));
  }
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new EspalierError('not_found', `--file: cannot read ${path}: ${(error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message}`);
  }
  return text.split(/\r?\n/).filter((line) => line !== '');
}

export const generateCommand = () =>
  buildCommand({
    name: 'generate',
    summary: 'generate text',
    shape,
    whole: ['prompt', 'stop', 'system'],
    interrupt: 'stopping: what is finished is printed',
    notes: 'With --json: {"completions": [{"tokens", "text", "logps", "finish_reason"}]}: new tokens only, text without special tokens, logps in nats before top-k, top-p and min-p; with --file each has the "prompt" it belongs to, counted from 0.',
    async run(values, { output, signal }) {
      if ((values.prompt === undefined) === (values.file === undefined)) throw new EspalierError('usage', values.file ? '--prompt and --file are both given' : '--prompt is missing', { fix: 'give --prompt TEXT, or --file FILE for many' });
      if (values.system !== undefined && !values.chat) throw new EspalierError('usage', '--system is given without --chat', { fix: 'add --chat' });
      const prompts: Prompt[] = values.file !== undefined ? await readPrompts(values.file) : [values.prompt!];
      if (prompts.length === 0) throw new EspalierError('bad_data', `${values.file} holds no prompt`);

      const { openEngine } = await import('@espalier/engine'); // loaded when a model is: help and wrong usage need not wait
      // The likeliest token is a matter of fact: where nobody chose, it is found in fp32, as references do, and not in what this processor multiplies best.
      const precision = values.precision ?? (values.temperature === 0 && process.env.ESPALIER_MATMUL_PRECISION === undefined ? 'fp32' : undefined);
      const engine = await openEngine({ ...defined({ model: values.model, backend: values.backend, precision, samplerWeights: values.samplerWeights, signal }), seed: values.seed });
      try {
        const { tokenizer } = engine;
        const encode = (prompt: Prompt): Int32Array => {
          if (typeof prompt === 'string' && !values.chat) return tokenizer.encode(prompt, { addSpecialTokens: true });
          const messages: Message[] = typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : [...prompt];
          if (values.system !== undefined) messages.unshift({ role: 'system', content: values.system });
          return tokenizer.encode(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false });
        };
        const sampling = { temperature: values.temperature, topK: values.topK, topP: values.topP, minP: values.minP, repetitionPenalty: values.repetitionPenalty, stop: values.stop ?? [] };
        const requests: GenerateRequest[] = prompts.map((prompt, i) => {
          const tokens = encode(prompt);
          const maxNewTokens = values.maxNewTokens ?? Math.max(1, Math.min(128, engine.info.maxPositions - tokens.length));
          return { id: String(i), prompt: tokens, n: values.numReturn, seed: (values.seed + i) >>> 0, sampling: { ...sampling, maxNewTokens } };
        });
        const empty = requests.findIndex((request) => request.prompt.length === 0);
        if (empty >= 0) throw new EspalierError('bad_data', `prompt ${empty} is empty: the model adds no token of its own`, { fix: 'give at least one character, or --chat' });

        const total = requests.length * values.numReturn;
        const progress = startProgress('generate', { unit: 'completion', total, quiet: output.json || total === 1 });
        const done: Completion[] = [];
        try {
          for await (const completion of engine.generate(requests, { signal })) {
            done.push(completion);
            progress.update(done.length);
          }
        } finally {
          progress.stop();
        }
        done.sort((a, b) => Number(a.requestId) - Number(b.requestId) || a.index - b.index);
        await output.result({
          completions: done.map((completion) => ({
            ...(values.file === undefined ? {} : { prompt: Number(completion.requestId) }),
            tokens: completion.tokens,
            text: completion.text,
            logps: completion.logps,
            finish_reason: completion.finishReason,
          })),
        });
        for (const [i, completion] of done.entries()) {
          if (done.length > 1) output.line(`${i === 0 ? '' : '\n'}── ${values.file === undefined ? '' : `prompt ${completion.requestId}, `}completion ${completion.index}`);
          output.line(completion.text);
        }
        if (signal.aborted) throw new EspalierError('aborted', `stopped after ${done.filter(({ finishReason }) => finishReason !== 'aborted').length} of ${total} completions`);
      } finally {
        await engine.close();
      }
    },
  });
