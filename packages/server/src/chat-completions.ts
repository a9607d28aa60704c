import type { Message } from '@espalier/spec';
import { encodeText, topsOf, usageOf } from './completions';
import { admitted, newId, streamed, type RequestContext, type ServerState, type StreamWriter } from './context';
import { collect, promptLogps } from './generation';
import { HttpError } from './http-error';
import { chatLogprobs, promptLogprobs, tokenNames } from './logprobs-format';
import type { ServedModel } from './models';
import { planRequests, type Plan } from './plan';
import { readBody } from './read-body';
import { chatFields, type ChatBody } from './request-fields';

/** Messages whose content is text; parts of text are put together. */
export function messagesOf(messages: ChatBody['messages']): Message[] {
  return messages.map((message) => ({ ...message, content: typeof message.content === 'string' ? message.content : message.content.map(({ text }) => text).join('') }));
}

/** Token ids of a conversation through the model's chat template. */
export function encodeChat(model: ServedModel, body: Pick<ChatBody, 'messages' | 'add_generation_prompt' | 'chat_template_kwargs' | 'add_special_tokens'>): Int32Array {
  const text = model.engine.tokenizer.applyChatTemplate(messagesOf(body.messages), { addGenerationPrompt: body.add_generation_prompt ?? true, variables: body.chat_template_kwargs });
  return encodeText(model, text, body.add_special_tokens ?? false);
}

/** `POST /v1/chat/completions` */
export async function chatCompletions(state: ServerState, c: RequestContext): Promise<Response> {
  const body = await readBody(c, chatFields);
  if (body.top_logprobs !== undefined && !body.logprobs) throw new HttpError(400, '`top_logprobs` needs `logprobs: true`', { param: 'top_logprobs' });
  const scoresPrompt = body.prompt_logprobs !== undefined;
  if (body.stream && scoresPrompt) throw new HttpError(400, '`prompt_logprobs` cannot be streamed', { param: 'stream' });
  const taken = state.models.take(body.model);
  try {
    const { model } = taken;
    const prompt = encodeChat(model, body);
    const maxTokens = body.max_completion_tokens ?? body.max_tokens;
    const plan = planRequests(model, [prompt], body, { maxTokens, defaultTokens: state.limits.defaultChatTokens, topLogps: body.top_logprobs ?? 0, scoresPrompt, limits: state.limits });
    return await admitted(state, c, taken, plan.n, async (run) => {
      const head = { id: newId('chatcmpl'), created: Math.floor(Date.now() / 1000), model: body.model ?? model.id };
      if (body.stream) return streamed(state, c, model, plan, run, chatWriter(model, body, plan, { ...head, object: 'chat.completion.chunk' }), body.stream_options?.include_usage ?? false);
      const [scores, [completions]] = await Promise.all([promptLogps(model, plan, run.signal), collect(model, plan, run.signal)]);
      const usage = usageOf([prompt], [completions]);
      state.metrics.generated(model.id, { prompt: usage.prompt_tokens, completion: usage.completion_tokens });
      const name = tokenNames(model.engine.tokenizer, body.return_tokens_as_token_ids ?? false);
      const choices = completions.map((completion) => ({
        index: completion.index,
        message: { role: 'assistant', content: completion.text, refusal: null },
        logprobs: body.logprobs ? chatLogprobs({ tokens: completion.tokens, logps: [...completion.logps!], tops: topsOf(completion) }, name) : null,
        finish_reason: completion.finishReason,
        ...(body.return_token_ids && { token_ids: [...completion.tokens] }),
      }));
      return c.json({
        ...head,
        object: 'chat.completion',
        choices,
        usage,
        ...(scores && { prompt_logprobs: promptLogprobs(prompt, scores[0], name) }),
        ...(body.return_token_ids && { prompt_token_ids: [...prompt] }),
      });
    });
  } catch (error) {
    taken.release();
    throw error;
  }
}

function chatWriter(model: ServedModel, body: ChatBody, plan: Plan, head: object): StreamWriter {
  const name = tokenNames(model.engine.tokenizer, body.return_tokens_as_token_ids ?? false);
  const nulls = body.stream_options?.include_usage ? { usage: null } : {};
  const chunk = (choice: object, more: object = {}) => ({ ...head, choices: [choice], ...nulls, ...more });
  return {
    begin: () =>
      Array.from({ length: plan.n }, (_, index) =>
        chunk({ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }, index === 0 && body.return_token_ids ? { prompt_token_ids: [...plan.prompts[0]] } : {}),
      ),
    chunks: ({ index, text, tokens, logps, tops, completion }) => {
      const logprobs = body.logprobs ? chatLogprobs({ tokens, logps, tops: body.top_logprobs ? tops : undefined }, name) : null;
      const told = chunk({ index, delta: { content: text }, logprobs, finish_reason: null, ...(body.return_token_ids && { token_ids: tokens }) });
      return completion ? [told, chunk({ index, delta: {}, logprobs: null, finish_reason: completion.finishReason })] : [told];
    },
    usage: (counts) => ({ ...head, choices: [], usage: { prompt_tokens: counts.prompt, completion_tokens: counts.completion, total_tokens: counts.prompt + counts.completion } }),
  };
}
