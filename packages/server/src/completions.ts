import type { Completion } from '@espalier/spec';
import { admitted, newId, streamed, type RequestContext, type ServerState, type StreamWriter } from './context';
import { collect, promptLogps } from './generation';
import { HttpError } from './http-error';
import { completionLogprobs, promptLogprobs, tokenNames, type ScoredTokens } from './logprobs-format';
import type { ServedModel } from './models';
import { planRequests, type Plan } from './plan';
import { readBody } from './read-body';
import { completionFields, type CompletionBody } from './request-fields';

/** A prompt or several, as text or as token ids. */
export function promptsOf(model: ServedModel, prompt: CompletionBody['prompt'], addSpecialTokens = true): Int32Array[] {
  const list = typeof prompt === 'string' ? [prompt] : typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as string[] | number[][]);
  return list.map((one) => (typeof one === 'string' ? encodeText(model, one, addSpecialTokens) : tokensOf(one)));
}

/** An id beyond 32 bits must not come back as another one. */
const tokensOf = (ids: readonly number[]) => Int32Array.from(ids, (id) => Math.min(id, 2 ** 31 - 1));

/** @throws HttpError 400 for a text that no tokenizer could make short enough, before it is tokenised */
export function encodeText(model: ServedModel, text: string, addSpecialTokens: boolean): Int32Array {
  const { maxPositions } = model.engine.info;
  const most = 64 * maxPositions;
  if (text.length > most) throw new HttpError(400, `the prompt has ${text.length} characters; the model has ${maxPositions} positions`, { param: 'prompt', code: 'context_length_exceeded' });
  return model.engine.tokenizer.encode(text, { addSpecialTokens });
}

/** `POST /v1/completions` */
export async function completions(state: ServerState, c: RequestContext): Promise<Response> {
  const body = await readBody(c, completionFields);
  if (body.best_of !== undefined && body.best_of !== (body.n ?? 1)) throw new HttpError(400, '`best_of` is not there: ask for `n` and choose', { param: 'best_of' });
  const scoresPrompt = body.prompt_logprobs !== undefined || (body.echo === true && body.logprobs !== undefined);
  if (body.stream && (scoresPrompt || body.echo)) throw new HttpError(400, '`echo` and `prompt_logprobs` cannot be streamed', { param: 'stream' });
  const taken = state.models.take(body.model);
  try {
    const { model } = taken;
    const prompts = promptsOf(model, body.prompt, body.add_special_tokens);
    const plan = planRequests(model, prompts, body, { maxTokens: body.max_tokens, defaultTokens: 16, topLogps: body.logprobs ?? 0, scoresPrompt, limits: state.limits });
    return await admitted(state, c, taken, prompts.length * plan.n, async (run) => {
      const head = { id: newId('cmpl'), object: 'text_completion', created: Math.floor(Date.now() / 1000), model: body.model ?? model.id };
      if (body.stream) return streamed(state, c, model, plan, run, completionWriter(model, body, plan, head), body.stream_options?.include_usage ?? false);
      const [scores, all] = await Promise.all([promptLogps(model, plan, run.signal), collect(model, plan, run.signal)]);
      const usage = usageOf(prompts, all);
      state.metrics.generated(model.id, { prompt: usage.prompt_tokens, completion: usage.completion_tokens });
      const choices = prompts.flatMap((_, i) => Array.from({ length: plan.n }, (_, k) => choiceOf(model, body, plan, i, k, all[i][k] ?? null, scores?.[i] ?? null)));
      return c.json({ ...head, choices, usage });
    });
  } catch (error) {
    taken.release();
    throw error;
  }
}

export function usageOf(prompts: readonly Int32Array[], all: readonly (readonly Completion[])[]) {
  const prompt = prompts.reduce((sum, { length }) => sum + length, 0);
  const completion = all.flat().reduce((sum, { tokens }) => sum + tokens.length, 0);
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}

/** The likeliest tokens of each position of a completion. */
export function topsOf({ tokens, topLogps }: Completion): ScoredTokens['tops'] {
  if (!topLogps || tokens.length === 0) return undefined;
  const k = topLogps.tokens.length / tokens.length;
  return Array.from(tokens, (_, t) => ({ tokens: topLogps.tokens.subarray(t * k, (t + 1) * k), logps: topLogps.logps.subarray(t * k, (t + 1) * k) }));
}

function choiceOf(model: ServedModel, body: CompletionBody, plan: Plan, i: number, k: number, completion: Completion | null, scores: Float32Array | null) {
  const prompt = plan.prompts[i];
  const { tokenizer } = model.engine;
  const name = tokenNames(tokenizer, body.return_tokens_as_token_ids ?? false);
  const echoed = body.echo ? tokenizer.decode(prompt, { skipSpecialTokens: true }) : '';
  let logprobs = null;
  if (body.logprobs !== undefined) {
    const own: ScoredTokens = { tokens: completion?.tokens ?? [], logps: [...(completion?.logps ?? [])], tops: body.logprobs > 0 && completion ? topsOf(completion) : undefined };
    const before = body.echo && scores ? [...prompt] : [];
    const scored: ScoredTokens = {
      tokens: [...before, ...Array.from(own.tokens)],
      logps: [...before.map((_, t) => (t === 0 ? null : scores![t])), ...own.logps],
      tops: own.tops && [...before.map(() => null), ...own.tops],
    };
    logprobs = completionLogprobs(scored, name, 0);
  }
  return {
    index: i * plan.n + k,
    text: echoed + (completion?.text ?? ''),
    logprobs,
    finish_reason: completion ? completion.finishReason : 'length',
    ...(body.prompt_logprobs !== undefined && scores && { prompt_logprobs: promptLogprobs(prompt, scores, name) }),
    ...(body.return_token_ids && { prompt_token_ids: [...prompt], token_ids: [...(completion?.tokens ?? [])] }),
  };
}

function completionWriter(model: ServedModel, body: CompletionBody, plan: Plan, head: object): StreamWriter {
  const name = tokenNames(model.engine.tokenizer, body.return_tokens_as_token_ids ?? false);
  const nulls = body.stream_options?.include_usage ? { usage: null } : {};
  const offsets = new Map<number, number>(); // characters told of each choice
  return {
    begin: () => [],
    chunks: ({ prompt, index, text, tokens, logps, tops, completion }) => {
      const choice = prompt * plan.n + index;
      const first = !offsets.has(choice);
      const offset = offsets.get(choice) ?? 0;
      offsets.set(choice, offset + text.length);
      return [
        {
          ...head,
          choices: [
            {
              index: choice,
              text,
              logprobs: body.logprobs === undefined ? null : completionLogprobs({ tokens, logps, tops: body.logprobs > 0 ? tops : undefined }, name, offset),
              finish_reason: completion?.finishReason ?? null,
              ...(body.return_token_ids && { token_ids: tokens, ...(first && { prompt_token_ids: [...plan.prompts[prompt]] }) }),
            },
          ],
          ...nulls,
        },
      ];
    },
    usage: (counts) => ({ ...head, choices: [], usage: { prompt_tokens: counts.prompt, completion_tokens: counts.completion, total_tokens: counts.prompt + counts.completion } }),
  };
}
