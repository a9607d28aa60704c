import type { Engine } from '@espalier/engine';
import { IncrementalText } from '@espalier/engine/local';
import type { InsightData, InsightSample, Json } from '@espalier/report';
import { encodePrompt, type PromptText } from '@espalier/rollouts';
import { EspalierError, throwIfAborted, type TokenBatch } from '@espalier/spec';

/** A text to look at: what was asked, and what was said. */
export interface InsightText {
  prompt: PromptText;
  completion: string;
  /** Whether the completion ended by itself: then its end is a token too. */
  ended: boolean;
  /** Of what a run wrote down, or a reward function gave. */
  reward: number | null;
  components: Readonly<Record<string, number>>;
  advantage: number | null;
}

/** What one model says of the completion of each text. */
export interface ModelView {
  /** Ids of prompt and completion. */
  ids: readonly Int32Array[];
  pieces: readonly (readonly string[])[];
  logps: readonly Float32Array[];
  entropies: readonly Float32Array[];
}

/**
 * Log-prob and entropy (nats, temperature 1) of each token of each completion, given what stands before it.
 * @throws EspalierError `bad_data` for an empty completion, or a text that is longer than the model's positions
 */
export async function viewOf({ learner, tokenizer, info }: Engine, texts: readonly InsightText[], signal?: AbortSignal): Promise<ModelView> {
  const view = { ids: [] as Int32Array[], pieces: [] as string[][], logps: [] as Float32Array[], entropies: [] as Float32Array[] };
  for (const [i, { prompt, completion, ended }] of texts.entries()) {
    throwIfAborted(signal);
    const asked = encodePrompt(tokenizer, prompt, `text ${i}`);
    const end = ended && tokenizer.eosTokenId !== undefined ? [tokenizer.eosTokenId] : [];
    const said = Int32Array.of(...tokenizer.encode(completion, { addSpecialTokens: false }), ...end);
    if (said.length === 0) throw new EspalierError('bad_data', `text ${i} has no completion`, { fix: 'a completion of at least one token' });
    const tokens = Int32Array.of(...asked, ...said);
    if (tokens.length > info.maxPositions) throw new EspalierError('bad_data', `text ${i} has ${tokens.length} tokens, and the model ${info.maxPositions} positions`, { fix: 'a shorter one' });
    const batch: TokenBatch = { tokens, offsets: Int32Array.of(0, tokens.length), actionIndex: Int32Array.from(said, (_, t) => asked.length + t), columns: {}, normalizer: { tokens: said.length, sequences: 1 } };
    const { logps, entropy } = await learner.forward(batch, ['logps', 'entropy'], signal ? { signal } : {});
    view.ids.push(tokens);
    view.pieces.push(piecesOf(said, (part) => tokenizer.decode(part, { skipSpecialTokens: true })));
    view.logps.push(logps!);
    view.entropies.push(entropy!);
  }
  return view;
}

/** The text by token; a character of several tokens stands at its last. */
function piecesOf(tokens: Int32Array, decode: (tokens: Int32Array) => string): string[] {
  const pushed: number[] = [];
  const decoded = new IncrementalText(decode, pushed);
  let length = 0;
  return Array.from(tokens, (token) => {
    pushed.push(token);
    const piece = decoded.update().slice(length);
    length = decoded.text.length;
    return piece;
  });
}

/**
 * Two models on the same texts.
 * @throws EspalierError `bad_config` when their tokenizers divide a text in two ways: token by token there is nothing to compare
 */
export function compareViews(names: { before: string; after: string }, texts: readonly InsightText[], before: ModelView, after: ModelView): InsightData {
  const samples = texts.map(({ prompt, completion, reward, components, advantage }, i): InsightSample => {
    if (before.ids[i].length !== after.ids[i].length || before.ids[i].some((id, t) => id !== after.ids[i][t])) throw new EspalierError('bad_config', `${names.before} and ${names.after} divide text ${i} into different tokens`, { fix: 'two checkpoints of one model' });
    return {
      prompt: prompt as Json, completion, tokens: before.pieces[i],
      before: Array.from(before.logps[i]), after: Array.from(after.logps[i]), entropyBefore: Array.from(before.entropies[i]), entropyAfter: Array.from(after.entropies[i]),
      reward, components, advantage,
    };
  });
  return { version: 1, ...names, samples };
}

/**
 * Group-relative advantages of texts that have none: r less the mean of those of the same prompt, over their spread (with Bessel's correction, as GRPO has it). What is
 * alone with its prompt, or has no reward, has none.
 */
export function withAdvantages(texts: readonly InsightText[]): InsightText[] {
  const groups = new Map<string, number[]>();
  for (const { prompt, reward } of texts) if (reward !== null) groups.set(JSON.stringify(prompt), [...(groups.get(JSON.stringify(prompt)) ?? []), reward]);
  return texts.map((text) => {
    const group = groups.get(JSON.stringify(text.prompt)) ?? [];
    if (text.advantage !== null || text.reward === null || group.length < 2) return text;
    const mean = group.reduce((a, b) => a + b, 0) / group.length;
    const std = Math.sqrt(group.reduce((sum, r) => sum + (r - mean) ** 2, 0) / (group.length - 1));
    return { ...text, advantage: (text.reward - mean) / (std + 1e-4) };
  });
}
