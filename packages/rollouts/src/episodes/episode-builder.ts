import { promptText, type PromptText } from '@espalier/engine/local';
import type { Completion, Environment, EspalierError, FinishReason, Message, Reward, Turn } from '@espalier/spec';
import type { Episode, EpisodeTask } from './episode';
import { StepRewards } from './step-rewards';

/** An episode while it grows. Ids are only ever appended. */
export class EpisodeBuilder {
  readonly messages: Message[] = [];
  readonly replies: Completion[] = [];
  readonly rewards = new StepRewards();
  readonly toolCalls = { made: 0, failed: 0 };
  environment: Environment | null = null;
  failure: EspalierError | null = null;
  finishReason: FinishReason | null = null; // null: it goes on
  private prompt: PromptText = [];
  private promptLength = 0;
  private ids: number[] = [];
  private readonly sampled: { start: number; completion: Completion }[] = [];
  private readonly turns: Turn[] = [];

  constructor(
    readonly task: EpisodeTask<unknown>,
    readonly index: number,
  ) {}

  get tokens(): Int32Array {
    return Int32Array.from(this.ids);
  }

  /** Ids after the prompt. */
  get length(): number {
    return this.ids.length - this.promptLength;
  }

  /** Messages from the first on. */
  get history(): readonly Message[] {
    return [...(typeof this.prompt === 'string' ? [{ role: 'user', content: this.prompt }] : this.prompt), ...this.messages];
  }

  begin(prompt: PromptText, tokens: Int32Array): void {
    this.prompt = prompt;
    this.ids = Array.from(tokens);
    this.promptLength = tokens.length;
    this.turns.push({ role: 'user', content: promptText(prompt), start: 0, end: tokens.length });
  }

  reply(completion: Completion): void {
    const start = this.ids.length;
    for (const token of completion.tokens) this.ids.push(token);
    this.sampled.push({ start, completion });
    this.replies.push(completion);
    this.messages.push({ role: 'assistant', content: completion.text });
    this.turns.push({ role: 'assistant', content: completion.text, start, end: this.ids.length });
  }

  observe(observation: readonly Message[], bridge: Int32Array): void {
    const start = this.ids.length;
    for (const token of bridge) this.ids.push(token);
    this.messages.push(...observation);
    this.turns.push({ role: observation.at(-1)!.role, content: promptText(observation), start, end: this.ids.length });
  }

  fail(error: EspalierError): void {
    this.failure = error;
    this.finishReason = 'aborted';
  }

  build(): Episode {
    const tokens = Int32Array.from(this.ids);
    const trainable = new Uint8Array(tokens.length);
    const known = this.replies.every(({ logps }) => logps !== null);
    const samplerLogps = known ? new Float32Array(tokens.length).fill(NaN) : null;
    for (const { start, completion } of this.sampled) {
      trainable.fill(1, start, start + completion.tokens.length);
      samplerLogps?.set(completion.logps!, start);
    }
    const finishReason = this.finishReason ?? 'aborted';
    const completion = this.joined(finishReason, known);
    return {
      index: this.index,
      prompt: this.prompt,
      trajectory: {
        id: `${this.task.id}/${this.index}`,
        group: this.task.id,
        seed: this.task.seed,
        tokens,
        trainable,
        samplerLogps,
        versions: this.sampled.map(({ start, completion: { version, tokens: own } }) => ({ version, start, end: start + own.length })),
        turns: this.turns,
        finishReason,
      },
      replies: this.replies,
      messages: this.messages,
      completion,
      reward: this.failure ? null : this.reward(),
      toolCalls: this.toolCalls,
      finishReason,
      failure: this.failure,
    };
  }

  private reward(): Reward | null {
    return this.rewards.total(this.replies.map(({ tokens }) => tokens.length));
  }

  /** All replies as one completion; with one reply, that reply. */
  private joined(finishReason: FinishReason, known: boolean): Completion {
    const last = this.replies.at(-1);
    if (this.replies.length === 1 && last!.finishReason === finishReason) return last!;
    return {
      requestId: this.task.id,
      index: this.index,
      tokens: Int32Array.from(this.replies.flatMap(({ tokens }) => Array.from(tokens))),
      logps: known ? Float32Array.from(this.replies.flatMap(({ logps }) => Array.from(logps!))) : null,
      text: last?.text ?? '',
      finishReason,
      version: last?.version ?? 0,
    };
  }
}
