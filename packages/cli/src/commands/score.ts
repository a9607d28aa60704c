import { readFileSync } from 'node:fs';
import { scoreText } from '@espalier/pipeline';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { modelFields } from './model-fields';

const shape = {
  ...modelFields,
  text: z.string().optional().describe('the text to score'),
  file: z.string().min(1).optional().describe('a text file to score'),
  maxLength: z.int().min(2).optional().describe("longest context, in tokens; default: the model's own. A longer text is scored in windows that overlap by half"),
};

export const scoreCommand = () =>
  buildCommand({
    name: 'score',
    summary: 'log-probabilities and perplexity of a text',
    shape,
    whole: ['text'],
    notes: 'With --json: {"tokens", "logps", "nll", "perplexity"}. logps[i], in nats, belongs to tokens[i + 1]; nll is the mean of -logps over the predicted tokens, perplexity is exp(nll).',
    async run(values, { output, signal }) {
      if ((values.text === undefined) === (values.file === undefined)) throw new EspalierError('usage', values.file ? '--text and --file are both given' : '--text is missing', { fix: 'give --text TEXT or --file FILE' });
      const text = values.text ?? readText(values.file!);
      const { openEngine } = await import('@espalier/engine'); // loaded when a model is: help and wrong usage need not wait
      const engine = await openEngine(defined({ model: values.model, backend: values.backend, precision: values.precision, signal }));
      try {
        const { tokens, logps, nll, perplexity } = await scoreText(engine, text, defined({ maxLength: values.maxLength, signal }));
        await output.result({ tokens, logps, nll, perplexity });
        output.line(`${tokens.length} tokens · nll ${nll.toFixed(4)} nats a token · perplexity ${perplexity.toFixed(3)}`);
      } finally {
        await engine.close();
      }
    },
  });

/** The text of a file. @throws EspalierError `not_found`, `bad_data` when it is not UTF-8 */
export function readText(path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (error instanceof TypeError) throw new EspalierError('bad_data', `${path} is not UTF-8 text`);
    throw new EspalierError('not_found', `cannot read ${path}: ${code === 'ENOENT' ? 'there is no such file' : (error as Error).message}`);
  }
}
