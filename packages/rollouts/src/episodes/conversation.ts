import { EspalierError, type Message, type ToolDescription } from '@espalier/spec';
import { describeTools } from '../tools/describe-tools';

/** Noncharacter that stands for a reply while a template is rendered: what comes after it is the way from a reply to the next. */
const replyMark = '\uFDD2';
/** Stands for a message's content when a template is tried out. */
const contentMark = '\uFDD3';

/** Roles that every template is taken to know. */
const usual: ReadonlySet<string> = new Set(['system', 'user', 'assistant']);

/** The part of a tokenizer that conversations need; `Tokenizer` of `@espalier/models` has it. */
export interface ConversationTokenizer {
  encode(text: string, options?: { addSpecialTokens?: boolean }): Int32Array;
  applyChatTemplate(messages: readonly Message[], options?: { addGenerationPrompt?: boolean; tools?: readonly Record<string, unknown>[] }): string;
  /** The token of an id as text: `<|im_end|>`. */
  idToToken(id: number): string | undefined;
  readonly specialTokenIds: ReadonlySet<number>;
}

/**
 * Messages to token ids, turn by turn, so that what was sampled is never tokenised again: the beginning once, and then for every observation the ids that lead from
 * the last sampled token to where the model's next reply begins.
 *
 * @example
 * const conversation = new Conversation(tokenizer, tools);
 * const prompt = conversation.begin([{ role: 'user', content: 'What is 12 * 12?' }]);
 * const bridge = conversation.observe(history, sampledIds, [{ role: 'tool', content: '144' }]); // ids to append
 */
export class Conversation {
  private readonly roles = new Map<string, boolean>();
  private toolsInTemplate: boolean | null = null;

  constructor(
    private readonly tokenizer: ConversationTokenizer,
    private readonly tools: readonly ToolDescription[] = [],
  ) {}

  /**
   * The ids of the beginning, up to where the first reply begins. Tools are told by the chat template; one that does not know them gets them in a system message.
   * @throws EspalierError `unsupported` without a chat template, `bad_data` when it refuses the messages
   */
  begin(messages: readonly Message[]): Int32Array {
    const tokens = this.tokenizer.encode(this.render(this.presented(messages), true), { addSpecialTokens: false });
    if (tokens.length === 0) throw new EspalierError('bad_data', 'the beginning of an episode has no tokens', { fix: 'a message that the chat template writes' });
    return tokens;
  }

  /**
   * The ids between a reply and the next: the closing of the reply where the policy did not write it itself, the observation, and the opening of the next reply.
   * @param history the messages before the reply
   * @param reply the ids of the reply, as sampled
   * @throws EspalierError `bad_data` when the template refuses the messages even as a user's
   */
  observe(history: readonly Message[], reply: Int32Array, observation: readonly Message[]): Int32Array {
    const past = this.told(this.presented(history).map(unmarked));
    const before = [...past, { role: 'assistant', content: replyMark }];
    const all = this.told(observation.map(unmarked), before);
    const after = (text: string) => text.slice(text.lastIndexOf(replyMark) + replyMark.length);
    const closing = after(this.render(before, false));
    const whole = after(this.render(all, true));
    // Where the last sampled token is the one that closes a reply in the template, the rest begins behind it.
    const last = reply.at(-1);
    const stop = last !== undefined && this.tokenizer.specialTokenIds.has(last) ? this.tokenizer.idToToken(last) : undefined;
    const at = stop === undefined ? -1 : closing.indexOf(stop);
    if (at < 0 || !whole.startsWith(closing.slice(0, at + stop!.length))) return this.tokenizer.encode(whole, { addSpecialTokens: false });
    // With the token before it, for there are tokenizers that write the beginning of a text in another way.
    const joined = this.tokenizer.encode(stop! + whole.slice(at + stop!.length), { addSpecialTokens: false });
    return joined[0] === last ? joined.subarray(1) : this.tokenizer.encode(whole.slice(at + stop!.length), { addSpecialTokens: false });
  }

  /** Messages, behind those that come before, in roles that the template writes: what it does not know, `tool` for one, goes as a user's. */
  private told(messages: readonly Message[], before: readonly Message[] = []): Message[] {
    const out = [...before];
    for (const message of messages) {
      if (usual.has(message.role) || this.knows(message.role, out)) out.push(message);
      else {
        const content = message.role === 'tool' ? `<tool_response>\n${message.content}\n</tool_response>` : message.content;
        const previous = out.at(-1);
        // One after another as a user's would break templates that want turns to alternate.
        if (previous?.role === 'user') out[out.length - 1] = { ...previous, content: `${previous.content}\n${content}` };
        else out.push({ role: 'user', content });
      }
    }
    return out;
  }

  private knows(role: string, before: readonly Message[]): boolean {
    const known = this.roles.get(role) ?? this.writes([...before, { role, content: contentMark }]);
    this.roles.set(role, known);
    return known;
  }

  /** The messages as the template gets them: with tools in a system message where it does not know tools. */
  private presented(messages: readonly Message[]): readonly Message[] {
    if (this.tools.length === 0) return messages;
    this.toolsInTemplate ??= this.tellsTools(messages);
    if (this.toolsInTemplate) return messages;
    const told = describeTools(this.tools);
    const [first, ...rest] = messages;
    if (first.role === 'system') return [{ ...first, content: `${first.content}\n\n${told}` }, ...rest];
    return this.writes([{ role: 'system', content: contentMark }, ...messages.filter(({ role }) => role === 'user').slice(0, 1)])
      ? [{ role: 'system', content: told }, ...messages]
      : [{ ...first, content: `${told}\n\n${first.content}` }, ...rest];
  }

  private tellsTools(messages: readonly Message[]): boolean {
    try {
      return this.render(messages, true).includes(this.tools[0].name);
    } catch {
      return false;
    }
  }

  /** Whether the template takes messages of which one holds the mark, and writes it. */
  private writes(messages: readonly Message[]): boolean {
    try {
      return this.tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).includes(contentMark);
    } catch {
      return false;
    }
  }

  private render(messages: readonly Message[], addGenerationPrompt: boolean): string {
    const tools = this.tools.length > 0 && this.toolsInTemplate !== false ? this.tools.map((tool) => ({ type: 'function', function: tool })) : undefined;
    return this.tokenizer.applyChatTemplate(messages, { addGenerationPrompt, ...(tools ? { tools } : {}) });
  }
}

const unmarked = <M extends Message>(message: M): M => (/[\uFDD2\uFDD3]/.test(message.content) ? { ...message, content: message.content.replace(/[\uFDD2\uFDD3]/g, '\uFFFD') } : message);
