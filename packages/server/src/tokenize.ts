import { encodeChat } from './chat-completions';
import { encodeText } from './completions';
import type { RequestContext, ServerState } from './context';
import { HttpError } from './http-error';
import { readBody } from './read-body';
import { detokenizeFields, tokenizeFields } from './request-fields';

/** `POST /tokenize`, as vLLM has it: a text, or messages through the chat template. */
export async function tokenize(state: ServerState, c: RequestContext): Promise<Response> {
  const body = await readBody(c, tokenizeFields);
  const { model, release } = state.models.take(body.model);
  try {
    const tokens = 'messages' in body ? encodeChat(model, body) : encodeText(model, body.prompt, body.add_special_tokens ?? true);
    const { tokenizer, info } = model.engine;
    return c.json({ count: tokens.length, max_model_len: info.maxPositions, tokens: [...tokens], token_strs: body.return_token_strs ? Array.from(tokens, (id) => tokenizer.idToToken(id) ?? '') : null });
  } finally {
    release();
  }
}

/** `POST /detokenize`, as vLLM has it. */
export async function detokenize(state: ServerState, c: RequestContext): Promise<Response> {
  const body = await readBody(c, detokenizeFields);
  const { model, release } = state.models.take(body.model);
  try {
    const { vocabSize } = model.engine.info.config;
    const outside = body.tokens.find((token) => token >= vocabSize);
    if (outside !== undefined) throw new HttpError(400, `token ${outside} is outside the vocabulary of ${vocabSize}`, { param: 'tokens' });
    return c.json({ prompt: model.engine.tokenizer.decode(body.tokens) });
  } finally {
    release();
  }
}
