import { isEspalierError, type Completion } from '@espalier/spec';
import { HttpError } from './http-error';
import type { Plan } from './plan';
import { SampleText } from './sample-text';
import type { ServedModel } from './models';

/** News of one sample since it was last told: whatever a slow reader missed is in one piece. */
export interface Delta {
  prompt: number;
  index: number;
  text: string;
  tokens: number[];
  logps: number[];
  tops: { tokens: number[]; logps: number[] }[];
  /** There when the sample has ended. */
  completion: Completion | null;
}

/** Whole completions of a plan, `[prompt][index]`. Leaves when the signal fires. */
export async function collect(model: ServedModel, plan: Plan, signal: AbortSignal): Promise<Completion[][]> {
  const all = plan.prompts.map(() => new Array<Completion>(plan.n));
  if (!plan.generates) return all.map(() => []);
  for await (const completion of model.engine.generate(plan.requests, { signal })) all[Number(completion.requestId)][completion.index] = completion;
  if (signal.aborted) throw new HttpError(499, 'the request was aborted');
  return all;
}

/** Log-probs of the tokens of each prompt, the first NaN; null where they are not asked for. */
export async function promptLogps(model: ServedModel, plan: Plan, signal: AbortSignal): Promise<readonly Float32Array[] | null> {
  if (!plan.scoresPrompt) return null;
  try {
    return await model.engine.score(plan.prompts, { signal });
  } catch (error) {
    if (isEspalierError(error) && error.code === 'aborted') throw new HttpError(499, 'the request was aborted');
    throw error;
  }
}

/**
 * A generation as it goes on. `next` waits until there is news, and gives all of it; null after the last. The engine does not wait for the reader: what the
 * reader has not taken is merged, at most the tokens that were asked for.
 */
export class LiveGeneration {
  private readonly news = new Map<string, Delta>();
  private readonly texts = new Map<string, SampleText>();
  private wake: (() => void) | null = null;
  private ended = false;
  private failure: unknown = null;
  /** Called whenever there is news that nobody waits for. */
  onPending: () => void = () => undefined;

  constructor(
    private readonly model: ServedModel,
    private readonly plan: Plan,
    signal: AbortSignal,
  ) {
    void this.run(signal);
  }

  get hasNews(): boolean {
    return this.ended || this.news.size > 0;
  }

  async next(): Promise<Delta[] | null> {
    while (this.news.size === 0) {
      if (this.failure) throw this.failure;
      if (this.ended) return null;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    const taken = [...this.news.values()];
    this.news.clear();
    return taken;
  }

  private async run(signal: AbortSignal): Promise<void> {
    try {
      const { engine } = this.model;
      const onTokens: Parameters<typeof engine.generate>[1] = {
        signal,
        onTokens: (events) => {
          for (const { requestId, index, token, logp, top } of events) {
            const delta = this.of(requestId, index);
            delta.tokens.push(token);
            delta.logps.push(logp);
            if (top) delta.tops.push({ tokens: [...top.tokens], logps: [...top.logps] });
            delta.text += this.textOf(requestId, index).push(token);
          }
          this.tell();
        },
      };
      for await (const completion of engine.generate(this.plan.requests, onTokens)) this.finish(completion);
    } catch (error) {
      this.failure = error;
    }
    this.ended = true;
    this.tell();
  }

  /** The last token of a sample, and what of its text was held back. */
  private finish(completion: Completion): void {
    const { requestId, index, tokens, logps, topLogps, finishReason } = completion;
    const delta = this.of(requestId, index);
    const text = this.textOf(requestId, index);
    for (let t = text.count; t < tokens.length; t++) {
      delta.tokens.push(tokens[t]);
      delta.logps.push(logps![t]);
      if (topLogps) {
        const k = topLogps.tokens.length / tokens.length;
        delta.tops.push({ tokens: [...topLogps.tokens.subarray(t * k, (t + 1) * k)], logps: [...topLogps.logps.subarray(t * k, (t + 1) * k)] });
      }
    }
    if (finishReason !== 'aborted') delta.text += text.rest(completion.text);
    delta.completion = completion;
    this.tell();
  }

  private of(requestId: string, index: number): Delta {
    const name = `${requestId}/${index}`;
    let delta = this.news.get(name);
    if (!delta) this.news.set(name, (delta = { prompt: Number(requestId), index, text: '', tokens: [], logps: [], tops: [], completion: null }));
    return delta;
  }

  private textOf(requestId: string, index: number): SampleText {
    const name = `${requestId}/${index}`;
    let text = this.texts.get(name);
    if (!text) this.texts.set(name, (text = new SampleText(this.model.engine.tokenizer, this.plan.stops)));
    return text;
  }

  private tell(): void {
    if (this.wake) {
      this.wake();
      this.wake = null;
    } else if (this.hasNews) this.onPending();
  }
}
