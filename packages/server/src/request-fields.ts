import { z } from 'zod';

const tokenIds = z.array(z.int().min(0));

/** Fields that say how to sample, common to both kinds of completion. Names and meanings are OpenAI's, and vLLM's where OpenAI has none. */
const sampling = {
  model: z.string().min(1).optional(),
  max_tokens: z.int().min(0).optional(),
  min_tokens: z.int().min(0).optional(),
  n: z.int().min(1).optional(),
  temperature: z.number().min(0).optional(),
  top_p: z.number().gt(0).max(1).optional(),
  top_k: z.int().min(-1).optional(),
  min_p: z.number().min(0).max(1).optional(),
  repetition_penalty: z.number().gt(0).optional(),
  seed: z.int().min(0).optional(),
  stop: z.union([z.string(), z.array(z.string()).max(16)]).optional(),
  stop_token_ids: tokenIds.optional(),
  ignore_eos: z.boolean().optional(),
  stream: z.boolean().optional(),
  stream_options: z.strictObject({ include_usage: z.boolean().optional() }).optional(),
  return_token_ids: z.boolean().optional(),
  return_tokens_as_token_ids: z.boolean().optional(),
  prompt_logprobs: z.literal(0).optional(),
  add_special_tokens: z.boolean().optional(),

  // What would change the answer and is not there: accepted only where it asks for nothing.
  frequency_penalty: z.literal(0).optional(),
  presence_penalty: z.literal(0).optional(),
  logit_bias: z.record(z.string(), z.never()).optional(),

  // What changes nothing here.
  user: z.unknown().optional(),
  metadata: z.unknown().optional(),
  store: z.unknown().optional(),
  service_tier: z.unknown().optional(),
  safety_identifier: z.unknown().optional(),
  prompt_cache_key: z.unknown().optional(),
  cache_salt: z.unknown().optional(),
  request_id: z.unknown().optional(),
};

export const completionFields = z.strictObject({
  ...sampling,
  prompt: z.union([z.string(), z.array(z.string()).min(1), tokenIds.min(1), z.array(tokenIds).min(1)]),
  echo: z.boolean().optional(),
  logprobs: z.int().min(0).max(20).optional(),
  best_of: z.int().min(1).optional(),
});

const textPart = z.object({ type: z.literal('text'), text: z.string() });

export const messageFields = z.looseObject({
  role: z.string().min(1),
  content: z.union([z.string(), z.array(textPart)]),
});

export const chatFields = z.strictObject({
  ...sampling,
  messages: z.array(messageFields).min(1),
  max_completion_tokens: z.int().min(1).optional(),
  logprobs: z.boolean().optional(),
  top_logprobs: z.int().min(0).max(20).optional(),
  add_generation_prompt: z.boolean().optional(),
  chat_template_kwargs: z.record(z.string(), z.unknown()).optional(),
  response_format: z.strictObject({ type: z.literal('text') }).optional(),
  modalities: z.tuple([z.literal('text')]).optional(),
  tools: z.array(z.never()).optional(),
  tool_choice: z.literal('none').optional(),
  parallel_tool_calls: z.unknown().optional(),
  reasoning_effort: z.literal('none').optional(),
});

export const tokenizeFields = z.union([
  z.strictObject({ model: z.string().min(1).optional(), prompt: z.string(), add_special_tokens: z.boolean().optional(), return_token_strs: z.boolean().optional() }),
  z.strictObject({
    model: z.string().min(1).optional(),
    messages: z.array(messageFields).min(1),
    add_generation_prompt: z.boolean().optional(),
    add_special_tokens: z.boolean().optional(),
    return_token_strs: z.boolean().optional(),
    chat_template_kwargs: z.record(z.string(), z.unknown()).optional(),
  }),
]);

export const detokenizeFields = z.strictObject({ model: z.string().min(1).optional(), tokens: tokenIds });

export const loadAdapterFields = z.strictObject({ lora_name: z.string().min(1), lora_path: z.string().min(1), base_model_name: z.string().min(1).optional(), load_inplace: z.literal(false).optional() });
export const unloadAdapterFields = z.strictObject({ lora_name: z.string().min(1), lora_int_id: z.unknown().optional() });

export type CompletionBody = z.output<typeof completionFields>;
export type ChatBody = z.output<typeof chatFields>;
export type SamplingBody = Pick<CompletionBody & ChatBody, keyof typeof sampling>;
